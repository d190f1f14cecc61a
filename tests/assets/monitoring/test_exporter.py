"""Metrics tell the backlog and the lake's state, come at once, and say what cannot be seen instead of what was."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fraud_assets.features.shift import LARGE_SHIFT, SHIFT
from fraud_assets.features.statistics import _SCHEMA, STATISTICS
from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import open_lake
from fraud_assets.monitoring.exporter import Exporter
from fraud_assets.monitoring.looks import DagsterLook, LakeLook, LogLook, ReleaseLook
from fraud_core.free_ports import free_ports
from fraud_core.log import json_entry, open_log
from fraud_core.log.valkey import start_valkey
from fraud_core.release import aliases
from fraud_core.settings import Settings, load_settings
from tests.assets.features.test_statistics import LAST, day_of
from tests.assets.history import produce_past

pytestmark = pytest.mark.valkey
Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def serve() -> Iterator[Callable[..., Exporter]]:
    started: list[Exporter] = []

    def start(settings: Settings, every_s: float = 1) -> Exporter:
        exporter = Exporter(settings.changed(exporter_port=0, exporter_interval_s=every_s))
        started.append(exporter)
        exporter.start()
        return exporter

    yield start
    for exporter in started:
        exporter.stop()


def scraped(text: str) -> Samples:
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(exporter: Exporter) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return scraped(answer.read().decode())


def wait_for(exporter: Exporter, component: str, up: float, timeout_s: float = 120) -> Samples:
    deadline = time.monotonic() + timeout_s
    while (found := scrape(exporter)).get(("spearhead_up", (component,))) != up:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


@pytest.fixture
def busy(settings: Settings) -> Settings:
    """A lake with something refused in it, and five events on the log that nobody has read."""
    produce_past(settings, days=3, faults=0.08)
    run_ingest(settings)
    log = open_log(settings)
    log.append("transactions", [json_entry(b"{}")] * 5)
    log.close()
    return settings


def test_a_scrape_tells_backlog_tables_refusals_and_release(
    busy: Settings, serve: Callable[..., Exporter]
) -> None:
    exporter = serve(busy)
    found = wait_for(exporter, "lake", 1) | wait_for(exporter, "log", 1) | wait_for(exporter, "release", 1)
    assert found["spearhead_backlog_events", ("ingest", "0", "transactions")] == 5
    assert found["spearhead_backlog_pressure", ("ingest",)] == 0
    assert found["spearhead_table_rows", ("transactions",)] > 100
    now = time.time()
    assert now - 3600 < found["spearhead_table_commit_timestamp_seconds", ("transactions",)] < now + 60
    watermark = found["spearhead_table_event_timestamp_seconds", ("transactions",)]
    assert now - 6 * 86_400 < watermark < now
    refused = {key[1]: value for key, value in found.items() if key[0] == "spearhead_violations_24h"}
    assert sum(refused.values()) > 0
    assert found["spearhead_quarantined", ("open", "transactions")] > 0
    assert 0 < found["spearhead_open_violations_share", ("transactions",)] < 0.2
    assert found["spearhead_release_generation", ()] == 0
    assert found["spearhead_up", ("dagster",)] == 0  # none runs here


def test_a_scrape_waits_for_nothing(busy: Settings, serve: Callable[..., Exporter]) -> None:
    exporter = serve(busy, every_s=3600)  # it looks once, and what it costs is what scrapes cost
    wait_for(exporter, "lake", 1)
    began = time.process_time()
    for _ in range(20):
        scrape(exporter)
    assert (time.process_time() - began) / 20 < 0.1
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/nothing", timeout=60)


def test_the_loss_of_redis_or_the_lake_is_told_and_survived(
    tmp_path: Path, serve: Callable[..., Exporter]
) -> None:
    server = start_valkey(tmp_path / "valkey", 0, appendfsync="no")
    settings = load_settings(_env_file=None, home=tmp_path / "home", redis_url=server.url)
    produce_past(settings, days=1)
    run_ingest(settings)
    marked = settings.changed(lake_marker="mounted")
    marker = Path(settings.lake_uri) / "mounted"
    marker.touch()
    exporter = serve(marked)
    wait_for(exporter, "log", 1)
    wait_for(exporter, "lake", 1)
    server.stop()
    lost = wait_for(exporter, "log", 0)
    assert not any(name.startswith("spearhead_backlog") for name, _ in lost)
    assert ("spearhead_table_rows", ("transactions",)) in lost
    shutil.move(settings.lake_uri, tmp_path / "gone")
    lost = wait_for(exporter, "lake", 0)
    assert not any(name.startswith("spearhead_table") for name, _ in lost)
    shutil.move(tmp_path / "gone", settings.lake_uri)
    back = start_valkey(tmp_path / "valkey", server.port, appendfsync="no")
    try:
        wait_for(exporter, "log", 1)
        wait_for(exporter, "lake", 1)
    finally:
        exporter.stop()
        back.stop()


def test_what_dagster_knows_of_parity_becomes_rates(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = DagsterLook(settings)
    entries = [
        {"label": "compared", "intValue": 200},
        {"label": "mismatches_per_feature", "jsonString": '{"account_count_1h": 3}'},
    ]
    node = {
        "key": {"path": ["feature_parity"]},
        "assetMaterializations": [{"timestamp": "1795000000000", "metadataEntries": entries}],
    }
    monkeypatch.setattr(look._client, "query", lambda *_: {"nodes": [node]})
    found = {sample.name: sample for metric in look() for sample in metric.samples}
    assert found["spearhead_parity_mismatch_rate"].value == pytest.approx(0.015)
    assert found["spearhead_asset_timestamp_seconds"].value == 1795000000


def test_what_is_live_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    look = ReleaseLook(settings)
    monkeypatch.setattr(
        look._store, "read", lambda: aliases.Aliases(generation=4, champion="m-2", previous="m-1")
    )
    found = {
        (sample.name, *sample.labels.values()): sample.value for metric in look() for sample in metric.samples
    }
    assert found["spearhead_release_generation",] == 4
    assert found["spearhead_release_info", "champion", "m-2"] == 1
    assert ("spearhead_release_info", "challenger", "m-2") not in found


def drifted(settings: Settings) -> None:
    """Statistics of three days: amounts stay as they were, hours of the day do not."""
    lake, rng = open_lake(settings), np.random.default_rng(3)
    rows = [
        day_of(rng.normal(shift if day == LAST else 0, 1, 500), day) | {"feature": name}
        for name, shift in (("amount", 0), ("hour", 4))
        for day in (LAST - timedelta(days=2), LAST - timedelta(days=1), LAST)
    ]
    table = lake.create(STATISTICS, _SCHEMA, partition_by=["event_date"])
    frame = pl.DataFrame(rows).select(
        pl.col(name).cast(kind) if name in rows[0] else pl.lit(None, kind).alias(name)
        for name, kind in _SCHEMA.items()
    )
    lake.replace(STATISTICS, frame, "true", table=table)


def test_features_that_moved_are_told_once_per_version_of_their_statistics(settings: Settings) -> None:
    look = LakeLook(settings)
    assert not {name for name, _ in told(look) if "shift" in name}
    drifted(settings)
    found = told(look)
    assert found["spearhead_feature_shift_psi", ("amount",)] < SHIFT
    assert found["spearhead_feature_shift_psi", ("hour",)] > LARGE_SHIFT
    assert (
        found["spearhead_feature_shift_day_timestamp_seconds", ()]
        == datetime(LAST.year, LAST.month, LAST.day, tzinfo=UTC).timestamp()
    )
    assert look._drift() is look._drift()


def told(look: LakeLook) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in look()
        for sample in family.samples
    }


@pytest.mark.slow
def test_prometheus_itself_scrapes_the_exporter(
    busy: Settings, serve: Callable[..., Exporter], tmp_path: Path
) -> None:
    """With Prometheus of the machine or of Debian's package, which is unpacked here and not installed."""
    prometheus, promtool = prometheus_binaries(tmp_path)
    drifted(busy)
    exporter = serve(busy)
    wait_for(exporter, "lake", 1)
    wait_for(exporter, "log", 1)
    assert "spearhead_feature_shift_psi{" in exporter.page().decode()
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=exporter.page(), capture_output=True, timeout=60, check=False
    )
    assert checked.returncode == 0, (checked.stdout + checked.stderr).decode()

    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: spearhead, static_configs: [{{targets: ['127.0.0.1:{exporter.port}']}}]}}]\n"
    )
    address = f"127.0.0.1:{free_ports(1)[0]}"
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    server = subprocess.Popen([prometheus, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (
            found := asked(address, "spearhead_backlog_events{reader='ingest',stream='transactions'}")
        ):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert found == [5.0]
        (took,) = asked(address, "scrape_duration_seconds{job='spearhead'}")
        assert took < 1.0  # the tenth of that on a machine that does nothing else
    finally:
        server.terminate()
        server.wait(60)


def asked(address: str, query: str) -> list[float]:
    """The present values of a query to Prometheus; none while it is not there yet."""
    try:
        with urllib.request.urlopen(
            f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10
        ) as answer:
            return [float(each["value"][1]) for each in json.load(answer)["data"]["result"]]
    except OSError:
        return []


def prometheus_binaries(folder: Path) -> tuple[str, str]:
    if (server := shutil.which("prometheus")) and (tool := shutil.which("promtool")):
        return server, tool
    for command in (["apt-get", "download", "prometheus"], ["sh", "-c", "dpkg-deb -x prometheus_*.deb ."]):
        if shutil.which(command[0]) is None:
            pytest.skip("Prometheus is not installed, and this is no Debian to take it from")
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=240, check=False)
        if done.returncode:
            pytest.skip(
                f"Prometheus is not installed, and Debian's package cannot be had: {done.stderr.decode()[-200:]}"
            )
    binaries = folder / "usr" / "bin"
    return str(binaries / "prometheus"), str(binaries / "promtool")


def test_looks_leave_no_reader_behind(busy: Settings) -> None:
    LogLook(busy)()
    LakeLook(busy)()
    log = open_log(busy)
    (shard,) = log.shards("transactions")
    assert set(log.readers(shard)) == {"ingest"}
    log.close()

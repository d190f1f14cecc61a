"""What ingestion stands on fails in the middle: the disk fills, the broker dies or goes back in time, a contract changes.

The faults are real: a small volume that is full, a server that is killed, ids of a clock that jumped.
"""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import redis
import yaml

from fraud_assets.ingestion import create_tables, run_ingest, verify
from fraud_assets.ingestion.commit import ShardIngest
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import Lake, open_lake
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import ContractError, LakeError, LogUnavailable, LostRange
from fraud_core.log import Log, json_entry, open_log
from fraud_core.log.valkey import start_valkey
from fraud_core.settings import PACKAGED_CONTRACTS, Settings, load_settings

pytestmark = pytest.mark.valkey
MakeEvent = Callable[..., bytes]
NOTHING: Callable[[str], None] = lambda _: None  # noqa: E731


class Death(BaseException):
    """Stands for a killed process."""


def killed_at(point: str) -> Callable[[str], None]:
    def hit(passed: str) -> None:
        if passed == point:
            raise Death

    return hit


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of 8 MB that nobody else uses."""
    place = tmp_path / "volume"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a volume that can be filled has to be mounted, which needs root's rights here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(volume: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (volume / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def test_a_disk_that_is_full_at_any_commit_costs_nothing(
    settings: Settings, log: Log, small_volume: Path, decision: MakeEvent
) -> None:
    own = settings.changed(lake=str(small_volume / "lake"), compact_every=2)
    run_ingest(own)
    # Before quarantine, each main table, the ledger, and what follows them.
    points = (
        "after_judge",
        "after_quarantine_commit",
        "between_main_commits",
        "after_main_commit",
        "after_report",
    )
    for number, point in enumerate(points):
        payloads = [decision(4 * number + step) for step in range(4)]
        log.append("decisions", [json_entry(payload) for payload in [*payloads, b"{"]])
        filled = False

        def hit(passed: str, point: str = point) -> None:
            nonlocal filled
            if passed == point and not filled:
                filled = True
                fill(small_volume)

        if point == "after_report":  # the next run's first plan compacts
            log.append("decisions", [json_entry(b"}")])
        with pytest.raises(LakeError, match=r"disk is full|check the space"):
            while not run_ingest(own, ["decisions"], failpoint=hit).commits:
                pass
        assert filled, point
        (small_volume / "ballast").unlink()
    run_ingest(own)
    proof = verify(own)
    assert proof.ok, proof.problems
    counts = proof.streams["decisions"]
    assert (counts.valid, counts.quarantined, proof.pending) == (4 * len(points), len(points) + 1, 0)


def test_a_broker_that_dies_under_a_run_is_waited_for(tmp_path: Path, event: MakeEvent) -> None:
    server = start_valkey(tmp_path / "valkey", 0, appendfsync="always")
    own = load_settings(
        _env_file=None, home=tmp_path, redis_url=server.url, plan_max_events=2, commit_interval_s=0.05
    )
    log = open_log(own)
    log.append("transactions", [json_entry(event(number)) for number in range(20)])
    committed = threading.Event()
    commits = []

    def on_commit(commit: object) -> None:
        commits.append(commit)
        if len(commits) == 3:
            server.process.kill()
            server.process.wait()
            committed.set()

    run = threading.Thread(
        target=run_ingest,
        args=(own, ["transactions"]),
        kwargs={"until": timedelta(seconds=240), "on_commit": on_commit, "stop": lambda: len(commits) >= 10},
    )
    run.start()
    try:
        assert committed.wait(120), commits
        server = start_valkey(tmp_path / "valkey", server.port, appendfsync="always")
        run.join(120)
        assert not run.is_alive(), commits
        run_ingest(own)
        proof = verify(own)
        assert proof.ok, proof.problems
        assert (proof.valid, proof.pending) == (20, 0)
    finally:
        log.close()
        server.stop()


@pytest.mark.parametrize("later", [0, 12], ids=["and is behind the lake", "and has grown past it since"])
def test_a_broker_that_came_back_from_an_older_copy_stops_the_run(
    tmp_path: Path, event: MakeEvent, later: int
) -> None:
    server = start_valkey(tmp_path / "live", 0, appendfsync="always")
    own = load_settings(_env_file=None, home=tmp_path, redis_url=server.url)
    log = open_log(own)
    log.append("transactions", [json_entry(event(number)) for number in range(4)])
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    log.append("transactions", [json_entry(event(number)) for number in range(4, 8)])
    run_ingest(own, ["transactions"])
    log.close()
    server.stop()
    server = start_valkey(tmp_path / "copy", server.port)
    try:
        log = open_log(own)
        log.append("transactions", [json_entry(event(number)) for number in range(8, 8 + later)])
        log.close()
        with pytest.raises(LostRange, match=r"older|transactions/0"):
            run_ingest(own, ["transactions"])
        assert open_lake(own).scan("transactions").select(pl.len()).collect().item() == 8
    finally:
        server.stop()


def test_a_server_whose_clock_ran_ahead_and_was_set_back_loses_nothing(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    key = f"{settings.namespace}:log:{{transactions.0}}"
    log.append("transactions", [json_entry(event(1))])
    run_ingest(settings)
    with redis.Redis.from_url(settings.redis_address) as client:
        seconds, _ = client.time()
        ahead = (seconds + 3600) * 1000
        client.xadd(key, {"j1": event(2)}, id=f"{ahead}-0")
    after = log.append("transactions", [json_entry(event(3)), json_entry(event(2))])
    assert [offset >> 20 for offset in after] == [ahead] * 2  # ids never go back: they wait for the clock
    totals = run_ingest(settings)
    assert (totals.valid, totals.duplicates) == (2, 1)
    rows = lake.scan("transactions").sort("_offset").collect()
    assert rows["known_at"].dt.epoch("ms").to_list()[1:] == [ahead] * 2
    assert verify(settings).ok


def test_a_runs_own_clock_decides_nothing(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts follow from the log's times alone: years ahead or behind, the same events are in the future."""

    class Jumping(datetime):
        year_of_run = 2001

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(cls.year_of_run, 1, 1, tzinfo=UTC)

    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    for year in (2001, 2060, 1999):
        Jumping.year_of_run = year
        for module in ("commit", "rows"):
            monkeypatch.setattr(f"fraud_assets.ingestion.{module}.datetime", Jumping)
        log.append("transactions", [json_entry(event(year)), json_entry(event(year + 1, event_ts=tomorrow))])
        totals = run_ingest(settings, ["transactions"])
        assert (totals.valid, totals.reasons) == (1, {"event_ts.future": 1})
    proof = verify(settings)
    assert proof.ok, proof.problems
    assert (proof.valid, proof.quarantined) == (3, 3)


def shard_ingest(
    settings: Settings, log: Log, contracts: Contracts, hit: Callable[[str], None]
) -> ShardIngest:
    (shard,) = log.shards("transactions")
    return ShardIngest(open_lake(settings), log, contracts, shard, window=9, seal=Seal(""), failpoint=hit)


def begun(settings: Settings, log: Log, contracts: Contracts, payloads: list[bytes]) -> None:
    """A plan that was judged, and whose run died then."""
    create_tables(open_lake(settings), contracts, ["transactions"])
    log.append("transactions", [json_entry(payload) for payload in payloads])
    with pytest.raises(Death):
        shard_ingest(settings, log, contracts, killed_at("after_quarantine_commit")).step(1 << 62, 100)


def test_a_contract_that_became_stricter_between_two_commits_changes_no_verdict(
    settings: Settings,
    log: Log,
    lake: Lake,
    event: MakeEvent,
    contracts: Contracts,
    strict_contracts_folder: Path,
) -> None:
    begun(settings, log, contracts, [event(1, amount=400), event(2, amount=600), event(3, amount=-1)])
    strict = shard_ingest(settings, log, load_contracts(strict_contracts_folder), NOTHING)
    commit = strict.step(1 << 62, 100)
    assert commit is not None
    assert (commit.resumed, commit.valid, commit.violations) == (True, 2, 1)
    log.append("transactions", [json_entry(event(4, amount=600))])
    following = strict.step(1 << 62, 100)
    assert following is not None
    assert (following.resumed, following.violations) == (False, 1)
    assert verify(settings).ok


def test_a_contract_that_can_no_longer_read_what_it_judged_is_refused_and_the_old_one_goes_on(
    settings: Settings, log: Log, event: MakeEvent, contracts: Contracts, tmp_path: Path
) -> None:
    begun(settings, log, contracts, [event(1), b"{"])
    folder = tmp_path / "contracts"
    shutil.copytree(PACKAGED_CONTRACTS, folder)
    path = folder / "transactions.odcs.yaml"
    document = yaml.safe_load(path.read_text())
    properties = document["schema"][0]["properties"]
    amount = next(each for each in properties if each["name"] == "device_id")
    amount["name"] = "device_code"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(
        ContractError, match=r"Ingest once with the contract as it was(.|\n)*Nothing was written"
    ):
        shard_ingest(settings, log, load_contracts(folder), NOTHING).step(1 << 62, 100)
    assert run_ingest(settings, ["transactions"]).valid == 1
    assert verify(settings).ok


def test_a_log_that_is_away_longer_than_a_run_waits_fails_the_run_and_nothing_else(
    settings: Settings, log: Log, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraud_assets.ingestion.run._PATIENCE_S", 0.2)
    log.append("transactions", [json_entry(event(number)) for number in range(3)])

    def hit(passed: str) -> None:
        if passed == "after_plan":
            raise LogUnavailable("Redis was expected to answer; it does not.")

    with pytest.raises(LogUnavailable):
        run_ingest(settings, ["transactions"], until=timedelta(seconds=30), failpoint=hit)
    run_ingest(settings)
    proof = verify(settings)
    assert proof.ok, proof.problems
    assert (proof.valid, proof.pending) == (3, 0)

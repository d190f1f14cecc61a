"""The whole way of events with the log on a real Kafka: commands in, lake, proof, features, replays, another life."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from fraud_assets.drills.nursery import IngestProcess
from fraud_assets.features import FEATURES, build_features
from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import open_lake
from fraud_core.cli import app
from fraud_core.errors import LostRange
from fraud_core.log import Log, Manifest, json_entry, open_log
from fraud_core.settings import Settings
from tests import kafka
from tests.assets.history import declarations

pytestmark = pytest.mark.kafka
MakeEvent = Callable[..., bytes]


@pytest.fixture
def log(kafka_settings: Settings) -> Iterator[Log]:
    opened = open_log(kafka_settings)
    yield opened
    opened.close()


@pytest.fixture
def command(kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `spearhead …` as a person with these settings would; returns what it printed."""
    for name, value in kafka_settings.environment().items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == exit_code, result.output
        return result.output

    return run


def last_line(output: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(output.strip().splitlines()[-1])
    return found


def test_what_is_produced_reaches_the_lake_is_proved_and_becomes_features(
    kafka_settings: Settings, command: Callable[..., str]
) -> None:
    world = (
        "--accounts",
        "200",
        "--merchants",
        "160",
        "--history",
        "20d",
        "--events",
        "2000",
        "--faults",
        "0.02",
    )
    sent = last_line(command("produce", *world, "--rate", "400", "--count", "100", "--json"))
    totals = last_line(command("ingest", "--json"))
    proof = last_line(command("verify", "--manifest", str(sent["manifest"]), "--json"))
    assert proof["ok"] is True
    assert proof["events"] == totals["events"] == sent["transactions"] + sent["faults"] + sent["labels"]  # type: ignore[operator]
    assert (proof["lost"], proof["duplicated"], proof["pending"]) == (0, 0, 0)
    lake = open_lake(kafka_settings)
    dates = lake.scan("transactions").select(pl.col("event_date").max().alias("last")).collect()["last"]
    build = build_features(lake, *declarations(kafka_settings), dates[0], dates[0])
    assert sum(build.rows.values()) == lake.scan(FEATURES).select(pl.len()).collect().item() > 0
    assert "transactions" in command("backlog", "--json")


def test_transactions_of_a_producer_leave_no_gap_and_no_stall_in_the_lake(
    kafka_settings: Settings, log: Log, event: MakeEvent, tmp_path: Path
) -> None:
    producer = Producer({"bootstrap.servers": kafka_settings.kafka_servers, "transactional.id": "bank"})
    producer.init_transactions()
    manifest = Manifest()
    small = kafka_settings.changed(plan_max_events=3)
    [shard] = log.shards("transactions")
    for batch in range(6):
        producer.begin_transaction()
        for number in range(5):
            producer.produce(f"{small.namespace}.transactions", event(10 * batch + number), partition=0)
        producer.flush()
        if batch % 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
            manifest.add("transactions", [f"tx-{10 * batch + number:08d}" for number in range(5)])
        if batch in {1, 5}:
            deadline = time.monotonic() + 60
            while (end := log.end(shard)) < 6 * (
                batch + 1
            ):  # a broker writes the marker after it has answered
                assert time.monotonic() < deadline, f"the log ends at {end}"
            run_ingest(small, ["transactions"])
    manifest.save(tmp_path / "manifest.json")
    proof = verify(small, tmp_path / "manifest.json")
    assert proof.ok, proof.problems
    assert (proof.valid, proof.pending) == (15, 0)
    assert log.readers(shard)["ingest"] == log.end(shard) == 36
    assert log.read(shard, 36, 36, 1).end == 36


@pytest.mark.slow  # test_interleavings does it within a process
def test_a_run_killed_between_two_commits_loses_and_doubles_nothing(
    kafka_settings: Settings, log: Log, event: MakeEvent
) -> None:
    log.append("transactions", [json_entry(event(number % 70, amount=number - 2)) for number in range(80)])
    small = kafka_settings.changed(plan_max_events=20)
    killed = IngestProcess(small, failpoint="after_quarantine_commit:2")
    assert killed.wait(120) == -signal.SIGKILL, killed.error
    run_ingest(small)
    proof = verify(small)
    assert proof.ok, proof.problems
    assert (proof.events, proof.pending) == (80, 0)


def test_a_topic_made_again_goes_on_as_a_new_life_whose_offsets_begin_at_0(
    kafka_settings: Settings, log: Log, event: MakeEvent
) -> None:
    log.append("transactions", [json_entry(event(number)) for number in range(6)])
    run_ingest(kafka_settings, ["transactions"])
    admin = AdminClient({"bootstrap.servers": kafka_settings.kafka_servers})
    name = f"{kafka_settings.namespace}.transactions"
    admin.delete_topics([name])[name].result()
    kafka.make_topics_again(kafka_settings)
    again = open_log(kafka_settings)
    again.append("transactions", [json_entry(event(number)) for number in range(4, 9)])
    again.close()

    def die(step: str) -> None:
        if step == "after_quarantine_commit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_ingest(kafka_settings, ["transactions"], failpoint=die)
    totals = run_ingest(kafka_settings, ["transactions"])
    assert (totals.valid, totals.duplicates) == (3, 2)
    proof = verify(kafka_settings)
    assert proof.ok, proof.problems
    rows = open_lake(kafka_settings).scan("transactions").collect()
    assert rows["_incarnation"].n_unique() == 2
    assert rows.height == 9
    assert rows.select("_incarnation", "_offset").n_unique() == 9


def test_records_deleted_before_they_were_read_stop_the_run_with_their_range(
    kafka_settings: Settings, log: Log, event: MakeEvent
) -> None:
    [shard] = log.shards("transactions")
    offsets = log.append("transactions", [json_entry(event(number)) for number in range(6)])
    run_ingest(kafka_settings.changed(plan_max_events=2), ["transactions"], plans_per_shard=1)
    reached = log.readers(shard)["ingest"]
    log.forget_reader(shard, "ingest")
    log.trim(shard, offsets[5])
    with pytest.raises(LostRange, match=f"Kafka's offsets {reached} to {offsets[5] - 2} were removed"):
        run_ingest(kafka_settings, ["transactions"])
    assert not verify(kafka_settings).ok


def test_events_are_judged_by_the_brokers_append_time(
    kafka_settings: Settings, log: Log, event: MakeEvent
) -> None:
    log.append(
        "transactions", [json_entry(event(1)), json_entry(event(2, event_ts="2031-01-01T00:00:00.000Z"))]
    )
    run_ingest(kafka_settings, ["transactions"])
    lake = open_lake(kafka_settings)
    [known] = lake.scan("transactions").collect()["known_at"].to_list()
    assert abs((datetime.now(UTC) - known).total_seconds()) < 600
    assert lake.scan("quarantine_transactions").collect()["reasons"].to_list() == [["event_ts.future"]]

"""Backlogs are told in events, whole and per shard, and a reader that stands still is complained of."""

import json
import time
from collections.abc import Callable
from types import SimpleNamespace

import polars as pl
import pytest
from click.testing import CliRunner

from fraud_core.backlog import Gauge, by_reader
from fraud_core.backlog.checks import alarms, check_backlog
from fraud_core.backlog.cli import app, backlog
from fraud_core.cli.discovery import load_command
from fraud_core.errors import LogError
from fraud_core.log import Log, block_entry, json_entry
from fraud_core.log.shards import check_shards
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey


@pytest.fixture
def two_readers(log: Log) -> list[int]:
    """A block of 1000 and three single events; ingestion has read the block, the scorer nothing."""
    (shard,) = log.shards("transactions")
    single = [json_entry(b"{}")] * 3
    offsets = log.append("transactions", [block_entry(pl.DataFrame({"n": range(1000)})), *single])
    log.advance_reader(shard, "ingest", offsets[0], since=0, events=1000)
    log.advance_reader(shard, "scorer", 0)
    return offsets


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    commands = {"backlog": backlog, "log": app}

    def run(name: str, *arguments: str) -> SimpleNamespace:
        point = SimpleNamespace(load=lambda: commands[name], value="here")
        result = CliRunner().invoke(load_command(name, point), arguments)  # type: ignore[arg-type]
        return SimpleNamespace(
            out=result.stdout, err=result.stderr, error=result.exception, code=result.exit_code
        )

    return run


def test_every_reader_is_measured_in_events(settings: Settings, log: Log, two_readers: list[int]) -> None:
    rows = {(row.stream, row.reader): row for row in Gauge(log, settings).look()}
    assert rows["transactions", "ingest"].events == 3
    assert rows["transactions", "scorer"].events == 1003
    assert rows["transactions", "scorer"].entries_held == 4
    assert rows["labels", "ingest"].events == 0
    assert 0 < rows["transactions", "ingest"].oldest_age_s < 60


def test_rates_and_the_time_to_empty_come_from_two_looks(
    settings: Settings, log: Log, two_readers: list[int]
) -> None:
    (shard,) = log.shards("transactions")
    gauge = Gauge(log, settings)
    first = {row.reader: row for row in gauge.look() if row.stream == "transactions"}
    assert first["scorer"].drained_per_s is None
    assert first["scorer"].time_to_empty_s is None
    log.advance_reader(shard, "scorer", two_readers[0], since=0, events=1000)
    began = time.monotonic()
    second = {row.reader: row for row in gauge.look() if row.stream == "transactions"}
    assert second["scorer"].events == 3
    assert second["scorer"].arrived_per_s == 0
    assert (second["scorer"].drained_per_s or 0) > 0
    assert second["scorer"].time_to_empty_s == pytest.approx(3 / (second["scorer"].drained_per_s or 1))
    assert second["ingest"].time_to_empty_s is None  # it has not moved
    assert time.monotonic() >= began


@pytest.mark.parametrize(("behind", "level"), [(3, "ok"), (2, "high"), (0.5, "critical")])
def test_pressure_follows_the_thresholds(
    settings: Settings, log: Log, two_readers: list[int], behind: float, level: str
) -> None:
    warn = {3: 1003, 2: 1002, 0.5: 200}[behind]
    limits = settings.changed(scorer_backlog_warn=warn)
    (scorer,) = (each for each in by_reader(Gauge(log, limits).look(), limits) if each.reader == "scorer")
    assert (scorer.events, scorer.level) == (1003, level)


def test_a_reader_that_stands_still_raises_an_alarm_and_one_that_moves_does_not(
    settings: Settings, log: Log, two_readers: list[int]
) -> None:
    (shard,) = log.shards("transactions")
    hasty = settings.changed(reader_stalled_s=0.001)
    gauge = Gauge(log, hasty)
    gauge.look()
    log.advance_reader(shard, "ingest", two_readers[1], since=two_readers[0], events=1)
    rows = {row.reader: row for row in gauge.look() if row.stream == "transactions"}
    assert rows["ingest"].alarm == ""
    assert rows["scorer"].level == "critical"
    assert "spearhead log forget scorer" in rows["scorer"].alarm


def test_the_doctor_speaks_of_stalled_and_far_readers(
    settings: Settings, two_readers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (check,) = check_backlog(settings)
    assert check.ok
    monkeypatch.setattr("fraud_core.backlog.checks._LOOK_AGAIN_S", 0.01)
    (check,) = check_backlog(settings.changed(reader_stalled_s=0.001))
    assert not check.ok
    assert check.required
    assert "scorer stands still at transactions/0" in check.found
    assert any("1003 events behind" in alarm for alarm in alarms(settings.changed(scorer_backlog_warn=1)))


def test_every_row_is_named_on_a_terminal_of_80_columns(
    command: Callable[..., SimpleNamespace], two_readers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = command("backlog", "--over", "0.1").out.splitlines()
    named = [line.split()[:2] for line in lines if line.strip()][2:]
    assert ["transactions/0", "scorer"] in named
    assert ["labels/0", "ingest"] in named
    assert lines[1].split() == [
        "reader",
        "behind",
        "oldest",
        "per",
        "s",
        "per",
        "s",
        "in",
        "held",
        "pressure",
    ]


def test_the_command_prints_json_with_a_row_per_shard_and_reader(
    command: Callable[..., SimpleNamespace], two_readers: list[int]
) -> None:
    document = json.loads(command("backlog", "--json", "--over", "0.1").out)
    totals = {row["reader"]: row for row in document["readers"]}
    assert (totals["ingest"]["events"], totals["scorer"]["events"]) == (3, 1003)
    assert {(row["stream"], row["shard"], row["reader"]) for row in document["shards"]} == {
        ("transactions", 0, "ingest"),
        ("transactions", 0, "scorer"),
        ("labels", 0, "ingest"),
        ("decisions", 0, "ingest"),
    }
    assert set(document["shards"][0]) >= {
        *(
            "events",
            "oldest_age_s",
            "arrived_per_s",
            "drained_per_s",
            "time_to_empty_s",
            "level",
            "entries_held",
        )
    }


def test_a_reader_is_forgotten_with_a_warning_and_ingestion_never(
    command: Callable[..., SimpleNamespace], log: Log, two_readers: list[int]
) -> None:
    (shard,) = log.shards("transactions")
    assert {row["reader"] for row in json.loads(command("log", "readers", "--json").out)} == {
        "ingest",
        "scorer",
    }
    declined = command("log", "forget", "scorer")
    assert declined.code == 1
    assert "scorer" in log.readers(shard)
    done = command("log", "forget", "scorer", "--yes")
    assert "1,003 events" in done.err.replace("\n", " ")
    assert "will not be scored" in done.err
    assert log.readers(shard) == {"ingest": two_readers[0]}
    assert isinstance(command("log", "forget", "scorer", "--yes").error, LogError)
    assert isinstance(command("log", "forget", "ingest", "--yes").error, LogError)


def test_looking_at_a_log_that_nobody_has_used_begins_no_life_of_it(settings: Settings, log: Log) -> None:
    assert [(row.stream, row.events) for row in Gauge(log, settings).look()] == [
        ("transactions", 0),
        ("labels", 0),
        ("decisions", 0),
    ]
    (check,) = check_backlog(settings)
    assert check.ok
    (check,) = check_shards(settings.changed(shards=5))
    assert check.ok
    assert log.existing_shards("transactions") == ()
    assert log.shards("transactions") == log.existing_shards("transactions") != ()

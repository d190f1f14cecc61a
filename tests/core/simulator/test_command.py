"""`spearhead produce` as a person runs it."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fraud_core.cli import app
from fraud_core.log import open_log
from fraud_core.log.manifest import Manifest
from fraud_core.log.redis_streams import RedisLog
from fraud_core.settings import Settings

Run = Callable[..., Result]
SMALL = ["--accounts", "200", "--merchants", "160"]


@pytest.fixture
def run(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("SPEARHEAD_HOME", str(tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(app, ["produce", *arguments])


def test_a_past_and_a_present_are_sent_and_witnessed(run: Run, tmp_path: Path) -> None:
    truth = tmp_path / "truth.parquet"
    result = run(
        *SMALL, "--history", "20d", "--events", "3000", "--faults", "0.02", "--fraud", "0.02", "--rate", "400",
        "--count", "200", "--ground-truth", str(truth), "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.strip().splitlines()[-1])
    assert 2_700 < summary["transactions"] < 3_700
    assert min(summary["faults"], summary["labels"], summary["frauds"]) > 0
    assert summary["past_events_per_s"] > 0
    counted = Manifest.load(Path(summary["manifest"])).streams
    assert counted["transactions"].events == summary["transactions"] + summary["faults"]
    assert counted["labels"].events == summary["labels"]
    rows = pl.read_parquet(truth)
    assert rows["fault"].is_not_null().sum() == summary["faults"]
    assert rows["scenario"].is_not_null().sum() == summary["frauds"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to produce"),
        (["--history", "ninety"], "such as 90d"),
        (["--history", "0d"], "longer than nothing"),
        (["--history", "1d", "--until", "2999-01-01"], "lies in the future"),
        (["--history", "1d", "--scenario", "heist"], "There are: card_testing"),
        (["--history", "1d", "--entries", "xml"], "block or json"),
        (["--history", "1d", "--faults", "2"], "between 0 and 0.5"),
    ],
)
def test_a_wrong_option_is_explained(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_a_foreign_contract_is_pointed_to_replay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEARHEAD_CONTRACTS", str(Path(__file__).parents[3] / "examples" / "handbook"))
    result = run("--history", "1d")
    assert result.exit_code == 1
    assert "spearhead replay FILE" in result.output


@pytest.mark.parametrize("option", ["--manifest", "--ground-truth"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sent(
    run: Run, settings: Settings, tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").touch()
    for impossible in (tmp_path / "file" / "below.json", tmp_path):
        result = run("--history", "1d", option, str(impossible))
        assert result.exit_code == 1
        assert str(impossible) in " ".join(result.output.split())
    log = open_log(settings)
    assert [log.end(shard) for shard in log.shards("transactions")] == [0]
    log.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("form", [("--rate", "2000"), ("--history", "60d")], ids=["live", "past"])
def test_what_is_sent_when_a_signal_comes_in_the_middle_of_an_append_is_in_the_manifest(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch, form: tuple[str, str], number: int
) -> None:
    append, appends = RedisLog.append, []

    def interrupted(self: RedisLog, *arguments: Any, **options: Any) -> list[int]:
        appends.append(1)
        offsets = append(self, *arguments, **options)
        if len(appends) == 3:
            os.kill(os.getpid(), number)
        return offsets

    monkeypatch.setattr(RedisLog, "append", interrupted)
    result = run(*SMALL, *form, "--faults", "0.1", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout.strip().splitlines()[-1])
    counted = Manifest.load(Path(summary["manifest"])).streams
    log = open_log(settings)
    on_the_log = {
        stream: sum(log.tally(shard).appended for shard in log.shards(stream)) for stream in counted
    }
    log.close()
    assert {stream: count.events for stream, count in counted.items()} == on_the_log
    assert 0 < on_the_log["transactions"] < 7_000

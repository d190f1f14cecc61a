"""`spearhead backfill` on a machine without a running Dagster."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from fraud_assets.lake import open_lake
from fraud_core.cli import app
from fraud_core.settings import Settings
from tests.assets.history import END

pytestmark = pytest.mark.valkey
FIRST, MIDDLE, LAST = ((END - timedelta(days=back)).date().isoformat() for back in (4, 3, 2))


@pytest.fixture(autouse=True)
def no_dagster_runs_here(past_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 1 is nobody's, so that a Dagster on this machine is never asked.
    for name, value in past_settings.changed(dagster_port=1).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(past_settings.home_path / "dagster"))
    monkeypatch.setattr("fraud_assets.runs.cli.DAYS_PER_RUN", 2)


def backfill(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["backfill", *arguments])


def features(settings: Settings) -> pl.DataFrame:
    return open_lake(settings).scan("features").sort("transaction_id").collect()


def test_a_backfill_fills_its_days_and_can_be_repeated(past_settings: Settings) -> None:
    done = backfill("features", "--from", FIRST, "--to", LAST)
    assert done.exit_code == 0, done.output
    rows = features(past_settings)
    days = rows["event_date"]
    assert (days.min().isoformat(), days.max().isoformat()) == (FIRST, LAST)
    assert backfill("features", "--from", FIRST, "--to", LAST).exit_code == 0
    assert features(past_settings).equals(rows)


def test_a_failing_partition_is_named_and_repeating_mends_it(past_settings: Settings, tmp_path: Path) -> None:
    lake = Path(past_settings.lake_uri)
    hidden = lake / "transactions"
    hidden.rename(tmp_path / "transactions")
    hidden.write_text("not a table")
    failed = backfill("features", "--from", FIRST, "--to", LAST)
    assert failed.exit_code == 1
    said = str(failed.exception) + failed.output
    assert f"{FIRST} to {MIDDLE}: features: " in said
    assert f"{LAST} to {LAST}: features: " in said
    assert "the table transactions" in said
    assert "run the same command again" in said
    hidden.unlink()
    (tmp_path / "transactions").rename(hidden)
    assert backfill("features", "--from", FIRST, "--to", LAST).exit_code == 0
    assert not features(past_settings).is_empty()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("features", "--from", LAST, "--to", FIRST), "--from must not be after --to"),
        (("transactions", "--from", FIRST, "--to", LAST), "Only daily-partitioned assets"),
        (("features", "--from", "2001-01-01", "--to", LAST), "Partitions exist from 2018-01-01"),
        (
            ("features", "--from", FIRST, "--to", (datetime.now(UTC) + timedelta(days=2)).date().isoformat()),
            "to today",
        ),
    ],
    ids=["backwards", "not partitioned", "before the first", "in the future"],
)
def test_a_wrong_range_is_refused_with_what_is_right(arguments: tuple[str, ...], said: str) -> None:
    refused = backfill(*arguments)
    assert refused.exit_code == 1
    assert said in str(refused.exception) + refused.output


def test_a_job_without_a_running_dagster_says_how_to_start_one() -> None:
    refused = CliRunner().invoke(app, ["materialize", "model_release"])
    assert refused.exit_code == 1
    assert "spearhead up" in str(refused.exception) + refused.output

"""The asset of data-quality results, its checks, and the reports that are made by the hour."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.orchestration.quality import checks
from fraud_assets.quality.results import DATA_QUALITY
from fraud_core.contracts import load_contracts
from fraud_core.log import json_entry, open_log
from fraud_core.settings import Settings
from tests.assets.orchestration.conftest import Run, reasons

pytestmark = [pytest.mark.valkey, pytest.mark.early]


def send(settings: Settings, *changes: dict[str, Any]) -> None:
    """Payments onto the log and into the lake, changed from the contract's example."""
    example = load_contracts(settings.contracts).transactions.example()
    log = open_log(settings)
    known = log.end(log.shards("transactions")[0])
    events = [
        {**example, "transaction_id": f"payment-{known}-{number}", **change}
        for number, change in enumerate(changes)
    ]
    log.append("transactions", [json_entry(json.dumps(event).encode()) for event in events])
    log.close()
    run_ingest(settings)


def last_judged(settings: Settings) -> datetime:
    """When the last batch was: by the clock, an hour may have ended since."""
    rows = open_lake(settings).scan(DATA_QUALITY)
    found: datetime = rows.select(pl.col("judged_at").max()).collect().item()
    return found


def judged(lake: Lake, shift: timedelta) -> None:
    """Move every result so far by `shift`, as if it had been judged then."""
    rows = lake.scan(DATA_QUALITY).collect().with_columns(pl.col("judged_at") + shift)
    lake.replace(DATA_QUALITY, rows, "true")


def results(done: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        f"{check.asset_key.to_user_string()}:{check.check_name}": check
        for check in done.get_asset_check_evaluations()
    }


def test_trends_checks_and_a_report_per_hour_with_violations(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """… as long as the hour lasts in which the last batch was judged."""
    lake = open_lake(settings)
    send(settings, {}, {}, {"country": "??"})
    judged(lake, -timedelta(hours=5))
    send(settings, {}, {})
    judged(lake, -timedelta(hours=3))
    send(settings, {"country": "??"}, {"amount_minor": -1, "amount_base_minor": -1})
    now = last_judged(settings)
    monkeypatch.setattr(checks, "datetime", SimpleNamespace(now=lambda _zone: now))
    done = run(settings, "quality_refresh")
    assert done.success, reasons(done)

    (materialized,) = done.asset_materializations_for_node(DATA_QUALITY)
    assert "data:image/png;base64" in materialized.metadata["trends"].value
    by_rule = {
        record.data["rule"]: record.data["failed"] for record in materialized.metadata["by_rule"].records
    }
    assert by_rule == {"any": 3, "country.enum": 2, "amount_minor.minimum": 1, "amount_base_minor.minimum": 1}

    found = results(done)
    assert not found["data_quality:refused_share"].passed
    assert found["data_quality:refused_share"].metadata["share_transactions"].value == 1.0
    assert {each["code"] for each in found["data_quality:new_reasons"].metadata["new"].data} == {
        "amount_minor.minimum",
        "amount_base_minor.minimum",
    }
    assert found["data_quality:agrees_with_ledger"].passed

    made = sorted(path.parent.name for path in settings.reports_path.glob("transactions/*/report.json"))
    first = lake.scan(DATA_QUALITY).select(pl.col("judged_at").min()).collect().item()
    hours = [f"{first:%Y-%m-%dT%H}"]
    assert made == hours, "full hours with violations only"
    report = found["transactions:great_expectations"]
    assert report.passed
    assert report.metadata["report"].value == f"{settings.reports_url}/transactions/{hours[0]}/"
    assert (report.metadata["admitted"].value, report.metadata["refused"].value) == (2, 1)

    again = results(run(settings, "quality_refresh"))["transactions:great_expectations"]
    assert "No full hour" in again.metadata["reports"].value, "a report is made once"


def test_a_batch_that_is_missing_or_there_twice_is_found(settings: Settings, run: Run) -> None:
    lake = open_lake(settings)
    for _ in range(3):
        send(settings, {})
    rows = lake.scan(DATA_QUALITY).collect().sort("end")
    for wrong in (rows.filter(pl.col("end") != rows["end"][1]), pl.concat([rows, rows[1:2]])):
        lake.replace(DATA_QUALITY, wrong, "true")
        check = results(run(settings, "quality_refresh", assets=[DATA_QUALITY]))[
            "data_quality:agrees_with_ledger"
        ]
        assert not check.passed


def test_reports_are_made_on_request_of_an_hour_a_day_or_everything(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from fraud_core.cli.root import app

    send(settings, {}, {"country": "??"})
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    now = last_judged(settings)
    for options, refused in (
        (["--hour", f"{now:%Y-%m-%dT%H}"], 1),
        (["--day", f"{now - timedelta(days=2):%Y-%m-%d}"], 0),
        (["--days", "0"], 1),
    ):
        done = CliRunner().invoke(app, ["report", "transactions", *options, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert told["refused"] == refused
        assert told["success"]
        assert Path(told["path"]).is_file()
    index = (settings.reports_path / "index.html").read_text(encoding="utf-8")
    assert index.count("<tr><td") == 3


def test_an_hour_without_batches_is_said_to_be_one_and_one_of_the_future_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from fraud_core.cli.root import app

    send(settings, {})
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    hour = datetime.now(UTC) - timedelta(days=2)
    done = CliRunner().invoke(app, ["report", "transactions", "--hour", f"{hour:%Y-%m-%dT%H}"])
    assert done.exit_code == 0
    assert "nothing was judged in that time; the last was, 20" in done.stdout
    assert "keeps its contract" not in done.stdout
    for page in settings.reports_path.rglob("index.html"):
        text = page.read_text(encoding="utf-8")
        assert "nothing was judged" in text
        assert "keeps its contract" not in text
    ahead = datetime.now(UTC) + timedelta(hours=2)
    done = CliRunner().invoke(app, ["report", "--hour", f"{ahead:%Y-%m-%dT%H}"])
    assert done.exit_code == 1
    assert "an hour that has begun" in " ".join(done.stderr.split())

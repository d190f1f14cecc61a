"""Ingestion as an asset and the sensor that keeps it alive."""

from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import STREAMS, open_lake, quarantine_of
from fraud_assets.orchestration.ingestion.sensors import ingest_job, keep_ingesting
from fraud_core.settings import Settings
from tests.assets.history import produce_past
from tests.assets.orchestration.conftest import Run, reasons

pytestmark = pytest.mark.valkey


def test_a_click_on_transactions_ingests_up_to_the_click(settings: Settings, run: Run) -> None:
    history = produce_past(settings, days=6, faults=0.05)
    result = run(settings, "ingest_job", assets=["transactions"])
    assert result.success, reasons(result)

    chunks = list(history.chunks())
    sent = sum(chunk.transactions.height for chunk in chunks)
    faults = [fault for chunk in chunks for fault in chunk.faults]
    lake = open_lake(settings)
    assert lake.scan("transactions").select(pl.len()).collect().item() == sent
    assert not lake.exists("labels")

    # Once when its first plan was committed, and once at its end.
    *_, materialization = result.asset_materializations_for_node("ingest")
    metadata = {name: value.value for name, value in materialization.metadata.items()}
    assert {each.asset_key for each in result.asset_materializations_for_node("ingest")} == {
        dg.AssetKey("transactions")
    }
    assert metadata["dagster/row_count"] == metadata["rows_added_by_this_run"] == sent
    assert metadata["events"] == sent + len(faults)

    *_, check = (each for each in result.get_asset_check_evaluations() if each.check_name == "contract")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    wrong = [fault.reason for fault in faults if fault.verdict == "violation"]
    by_rule = {record.data["rule"]: record.data["events"] for record in check.metadata["by_rule"].records}
    assert check.metadata["violations"].value == len(wrong)
    assert {rule: by_rule[rule] for rule in set(wrong)} == {rule: wrong.count(rule) for rule in set(wrong)}


def test_a_second_click_adds_nothing_and_passes(settings: Settings, run: Run) -> None:
    produce_past(settings, days=2)
    assert run(settings, "ingest_job").success
    again = run(settings, "ingest_job")
    added = {
        event.asset_key.to_user_string(): event.metadata["rows_added_by_this_run"].value
        for event in again.asset_materializations_for_node("ingest")
    }
    tables = [*STREAMS, *map(quarantine_of, STREAMS)]
    assert added == dict.fromkeys(tables, 0)
    checks = [check for check in again.get_asset_check_evaluations() if check.check_name == "contract"]
    assert [check.passed for check in checks] == [True] * len(STREAMS)


def tick(
    graph: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(instance=instance, cursor=cursor, definitions=graph)


def test_the_sensor_asks_for_one_run_and_none_while_one_is_under_way(
    graph: dg.Definitions, settings: Settings, in_settings: Callable[[Settings], None]
) -> None:
    in_settings(settings)
    job = graph.resolve_job_def(ingest_job.name)
    with dg.instance_for_test() as instance:
        first = keep_ingesting(tick(graph, instance))
        assert isinstance(first, dg.RunRequest)
        assert first.run_config["ops"]["ingest"]["config"]["drive"] == "LOOP"
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=first.tags)
        waiting = keep_ingesting(tick(graph, instance, "1"))
        assert isinstance(waiting, dg.SkipReason)
        assert run.run_id in waiting.skip_message
        # A run that died is no reason to wait, and the next attempt has a key of its own.
        instance.report_run_failed(run)
        second = keep_ingesting(tick(graph, instance, "1"))
        assert isinstance(second, dg.RunRequest)
        assert second.run_key is None
        assert second.tags["spearhead/attempt"] == "2"


def test_where_runs_end_after_one_plan_the_sensor_asks_only_when_there_is_something_to_do(
    graph: dg.Definitions,
    instance: dg.DagsterInstance,
    settings: Settings,
    in_settings: Callable[[Settings], None],
) -> None:
    in_settings(settings.changed(ingest_drive="plan"))
    produce_past(settings, days=1)
    asked = keep_ingesting(tick(graph, instance))
    assert isinstance(asked, dg.RunRequest)
    assert asked.run_config["ops"]["ingest"]["config"]["drive"] == "PLAN"
    run_ingest(settings)
    assert isinstance(keep_ingesting(tick(graph, instance)), dg.SkipReason)


def test_a_run_of_one_plan_per_stream_ends_by_itself(settings: Settings, run: Run) -> None:
    produce_past(settings, days=3)
    few = settings.changed(plan_max_events=200)
    result = run(few, "ingest_job", config={"ingest": {"config": {"drive": "PLAN"}}})
    assert result.success, reasons(result)
    held = open_lake(settings).scan("transactions").select(pl.len()).collect().item()
    assert 0 < held <= 3 * 500

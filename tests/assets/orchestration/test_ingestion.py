"""Ingestion as an asset and the sensor that keeps it alive."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import STREAMS, open_lake, quarantine_of
from fraud_assets.orchestration.ingestion import reporting
from fraud_assets.orchestration.ingestion.sensors import ingest_job, keep_ingesting
from fraud_assets.quarantine import Mapping, Selection, discard, find, replay
from fraud_assets.quarantine.mapping import Step
from fraud_core.contracts import load_contracts
from fraud_core.log import Origin, json_entry, open_log
from fraud_core.settings import Settings
from tests.assets.history import produce_past
from tests.assets.orchestration.conftest import Run, reasons

pytestmark = [pytest.mark.valkey, pytest.mark.early]


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


def test_refused_events_come_back_through_a_run_and_their_asset_counts_the_work_done(
    settings: Settings, run: Run
) -> None:
    log, example = open_log(settings), load_contracts(settings.contracts).transactions.example()
    for number, country in enumerate(("UK", "??", "!!")):
        event = {**example, "transaction_id": f"tx-{number:08d}", "country": country}
        log.append("transactions", [json_entry(json.dumps(event).encode())])
    log.close()
    assert run(settings, "ingest_job").success
    lake, repair = open_lake(settings), Mapping((Step("replace", "country", "GB", "UK"),))
    replay(settings, lake, Selection(("transactions",)), "ann", mapping=repair)
    [unknown, _] = find(lake, Selection(("transactions",)))["id"]
    discard(lake, Selection(("transactions",), origins=(Origin.parse(unknown),)), "ann", "test traffic")
    result = run(settings, "ingest_job")
    assert result.success, reasons(result)
    [metadata] = [
        {name: value.value for name, value in event.metadata.items()}
        for event in result.asset_materializations_for_node("ingest")
        if event.asset_key == dg.AssetKey("quarantine_transactions")
    ][-1:]
    assert (metadata["open"], metadata["replayed"], metadata["discarded"]) == (1, 1, 1)
    assert "spearhead quarantine list --stream transactions" in metadata["work_on_them"]
    assert lake.scan("transactions").collect()["country"].to_list() == ["GB"]
    assert verify(settings).ok


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


def requests(answer: list[dg.RunRequest] | dg.SkipReason) -> list[dg.RunRequest]:
    assert not isinstance(answer, dg.SkipReason), answer.skip_message
    return answer


def test_the_sensor_asks_for_one_run_and_none_while_one_is_under_way(
    graph: dg.Definitions, settings: Settings, in_settings: Callable[[Settings], None]
) -> None:
    in_settings(settings)
    job = graph.resolve_job_def(ingest_job.name)
    with dg.instance_for_test() as instance:
        (first,) = requests(keep_ingesting(tick(graph, instance)))
        assert first.run_config["ops"]["ingest"]["config"]["drive"] == "LOOP"
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=first.tags)
        waiting = keep_ingesting(tick(graph, instance, "1"))
        assert isinstance(waiting, dg.SkipReason)
        # A run that died is no reason to wait, and the next attempt has a key of its own.
        instance.report_run_failed(run)
        (second,) = requests(keep_ingesting(tick(graph, instance, "1")))
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
    (asked,) = requests(keep_ingesting(tick(graph, instance)))
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


def test_each_group_of_shards_has_a_run_of_its_own(
    graph: dg.Definitions, settings: Settings, in_settings: Callable[[Settings], None]
) -> None:
    job = graph.resolve_job_def(ingest_job.name)
    with dg.instance_for_test() as instance:
        in_settings(settings.changed(ingest_groups=2, shards=2))
        first, second = requests(keep_ingesting(tick(graph, instance)))
        assert [each.run_config["ops"]["ingest"]["config"]["group"] for each in (first, second)] == [0, 1]
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=first.tags)
        (missing,) = requests(keep_ingesting(tick(graph, instance)))
        assert missing.tags["spearhead/ingest_group"] == "1/2"
        # Divided otherwise, its shards are nobody else's until it has ended.
        in_settings(settings.changed(ingest_groups=3, shards=2))
        waiting = keep_ingesting(tick(graph, instance))
        assert isinstance(waiting, dg.SkipReason)
        assert run.run_id in waiting.skip_message
        instance.report_run_failed(run)
        assert len(requests(keep_ingesting(tick(graph, instance)))) == 3


def test_on_kafka_as_many_groups_run_as_are_wanted_whatever_the_setting_of_shards(
    settings: Settings, graph: dg.Definitions, in_settings: Callable[[Settings], None]
) -> None:
    in_settings(settings.changed(log="kafka", kafka_servers="127.0.0.1:1", ingest_groups=8))
    with dg.instance_for_test() as instance:
        assert len(requests(keep_ingesting(tick(graph, instance)))) == 8


def test_groups_divide_the_shards_and_ingest_everything_once(settings: Settings, run: Run) -> None:
    wide = settings.changed(shards=3)
    history = produce_past(wide, days=2)
    sent = sum(chunk.transactions.height for chunk in history.chunks())
    for group in (0, 1):
        config = {"ingest": {"config": {"drive": "END", "group": group, "groups": 2}}}
        assert run(wide, "ingest_job", config=config).success
    proof = verify(wide)
    assert proof.ok, proof.problems
    assert proof.pending == 0
    assert proof.streams["transactions"].events >= sent
    ledger = open_lake(wide).scan("ledger").select("stream", "shard").unique().collect()
    assert {shard for stream, shard in ledger.iter_rows() if stream == "transactions"} == {0, 1, 2}


def test_a_run_that_is_asked_to_stop_finishes_its_plan_and_succeeds(settings: Settings, run: Run) -> None:
    produce_past(settings, days=2)
    lake = open_lake(settings)
    endless = settings.changed(ingest_run_s=240, commit_interval_s=0.2)

    def stop_it() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if lake.exists("ledger") and lake.table("ledger").version() > 0:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(0.05)

    before = signal.getsignal(signal.SIGTERM)
    asker = threading.Thread(target=stop_it)
    began = time.monotonic()
    asker.start()
    result = run(endless, "ingest_job", config={"ingest": {"config": {"drive": "LOOP"}}})
    asker.join()
    assert result.success, reasons(result)
    assert time.monotonic() - began < 200
    assert signal.getsignal(signal.SIGTERM) == before
    run_ingest(settings)
    assert verify(settings).ok


def test_what_was_committed_last_is_reported_though_nothing_comes_after_it(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = produce_past(settings, days=2)
    sent = sum(chunk.transactions.height for chunk in history.chunks())
    monkeypatch.setattr(reporting, "REPORT_EVERY_S", 1.0)
    report, told = reporting.Reporter._report, []

    def until_all_is_told(self: reporting.Reporter) -> None:
        report(self)
        told.append(self.totals["transactions"].valid)
        if told[-1] == sent:
            os.kill(os.getpid(), signal.SIGTERM)  # the run would go on waiting for more

    monkeypatch.setattr(reporting.Reporter, "_report", until_all_is_told)
    endless = settings.changed(ingest_run_s=200, plan_max_events=sent // 4, commit_interval_s=0.2)
    began = time.monotonic()
    result = run(endless, "ingest_job", config={"ingest": {"config": {"drive": "LOOP"}}})
    assert result.success, reasons(result)
    assert told[-1] == sent
    assert time.monotonic() - began < 180

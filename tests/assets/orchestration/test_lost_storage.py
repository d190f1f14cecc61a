"""Dagster's storage is lost, runs, events, schedules and cursors together, while the log has a backlog and a plan is half done."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.orchestration.ingestion.sensors import ingest_job, keep_ingesting
from fraud_core.contracts import load_contracts
from fraud_core.log import Manifest, json_entry, open_log
from fraud_core.settings import Settings
from tests.assets.orchestration.conftest import NO_CAPTURE

pytestmark = pytest.mark.valkey
EVENTS = 60
QUIET = {"compute_logs": NO_CAPTURE}


class Death(BaseException):
    """Stands for a killed process."""


def die_between_commits(passed: str) -> None:
    if passed == "after_quarantine_commit":
        raise Death


def send(settings: Settings, path: Path) -> None:
    example = load_contracts(settings.contracts).transactions.example()
    ids = [f"tx-{number:08d}" for number in range(EVENTS)]
    manifest, log = Manifest(), open_log(settings)
    log.append(
        "transactions",
        [json_entry(json.dumps({**example, "transaction_id": each}).encode()) for each in ids]
        + [json_entry(b"{")],
    )
    log.close()
    manifest.add("transactions", ids, unreadable=1)
    manifest.save(path)


def test_everything_goes_on_exactly_once_without_dagsters_memory(
    settings: Settings, graph: dg.Definitions, in_settings: Callable[[Settings], None], tmp_path: Path
) -> None:
    own = settings.changed(plan_max_events=10)
    send(own, tmp_path / "manifest.json")
    in_settings(own)
    job = graph.resolve_job_def(ingest_job.name)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    storage = tmp_path / "dagster"
    storage.mkdir()

    with dg.DagsterInstance.local_temp(str(storage), overrides=QUIET) as before:
        [asked] = keep_ingesting(dg.build_sensor_context(instance=before, definitions=graph))
        one_plan = {"ops": {"ingest": {"config": {"drive": "PLAN"}}}} | quiet
        assert job.execute_in_process(run_config=one_plan, instance=before).success
        before.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=asked.tags)
        waiting = keep_ingesting(dg.build_sensor_context(instance=before, cursor="1", definitions=graph))
        assert isinstance(waiting, dg.SkipReason)
    with pytest.raises(Death):
        run_ingest(own, failpoint=die_between_commits)
    shutil.rmtree(storage)
    storage.mkdir()

    with dg.DagsterInstance.local_temp(str(storage), overrides=QUIET) as after:
        assert after.get_runs_count() == 0
        [asked] = keep_ingesting(dg.build_sensor_context(instance=after, definitions=graph))
        assert asked.tags["spearhead/attempt"] == "1"
        to_the_end = {"ops": {"ingest": {"config": {"drive": "END"}}}} | quiet
        result = job.execute_in_process(run_config=to_the_end, instance=after)
        assert result.success
        [event] = [
            each
            for each in reversed(result.asset_materializations_for_node("ingest"))
            if each.asset_key == dg.AssetKey("transactions")
        ][:1]
        assert event.metadata["dagster/row_count"].value == EVENTS
        assert event.metadata["rows_added_by_this_run"].value == EVENTS - 10
    proof = verify(own, tmp_path / "manifest.json")
    assert proof.ok, proof.problems
    assert (proof.valid, proof.quarantined, proof.pending) == (EVENTS, 1, 0)

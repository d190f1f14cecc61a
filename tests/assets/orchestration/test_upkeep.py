"""Upkeep as a job: what there was and what there is, for people to see."""

import pytest

from fraud_assets.ingestion import run_ingest
from fraud_assets.ingestion.verify import verify
from fraud_core.settings import Settings
from tests.assets.history import produce_past
from tests.assets.orchestration.conftest import Run, reasons

pytestmark = pytest.mark.valkey


def test_the_nightly_job_keeps_up_the_lake_and_says_before_and_after(settings: Settings, run: Run) -> None:
    for _ in range(3):
        produce_past(settings, days=2)
        run_ingest(settings)
    result = run(settings, "upkeep")
    assert result.success, reasons(result)
    (lake,) = result.asset_materializations_for_node("lake_upkeep")
    told = {name: value.value for name, value in lake.metadata.items()}
    assert told["files_after"] < told["files_before"]
    assert told["log_files_after"] > 0
    assert "| transactions |" in told["tables"]
    (runs,) = result.asset_materializations_for_node("run_storage")
    assert runs.metadata["runs_before"].value == runs.metadata["runs_after"].value == 1
    assert verify(settings).ok

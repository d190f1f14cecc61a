"""Runs in this process, for a machine on which no Dagster is running.

They are recorded in the same Dagster home, so that the UI shows them once it is started.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from fraud_assets.runs.client import RANGE_END_TAG, RANGE_START_TAG
from fraud_core.errors import PlatformError
from fraud_core.settings import Settings


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of `<home>/dagster`, created where it does not exist."""
    home = settings.home_path / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ.setdefault("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def materialize(settings: Settings, selection: str, days: tuple[str, str] | None) -> list[str]:
    """Materialize a selection of assets, over a range of daily partitions where it has them.

    Returns why steps failed, one line each; none when all succeeded.
    """
    from fraud_assets.definitions import definitions

    graph = definitions()
    assets = dg.AssetSelection.from_string(selection).resolve(graph.resolve_asset_graph())
    job = graph.resolve_implicit_job_def_def_for_assets(assets)
    if job is None:
        raise PlatformError(
            f"No run can materialize {selection!r} at once; name assets that share their partitions"
        )
    tags = {RANGE_START_TAG: days[0], RANGE_END_TAG: days[1]} if days else {}
    with dagster_instance(settings) as instance:
        result = job.execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=instance,
            asset_selection=list(assets),
            tags=tags,
            raise_on_error=False,
        )
    if result.success:
        return []
    return [_reason(event) for event in result.get_step_failure_events()] or [f"run {result.run_id} failed"]


def _reason(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    # Dagster's wrappers say nothing of their own; what was raised first says what to do.
    while error is not None and error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    text = error.message.strip() if error is not None else "see the run's log"
    return f"{event.step_key}: {text}"

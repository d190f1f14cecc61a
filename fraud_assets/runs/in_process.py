"""Runs in this process, for a machine on which no Dagster is running.

They are recorded in the same Dagster home, so that the UI shows them once it is started.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from fraud_assets.runs.client import RANGE_END_TAG, RANGE_START_TAG
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


def materialize(settings: Settings, selection: str, days: tuple[str, str] | None) -> dg.ExecuteInProcessResult:
    """Materialize a selection of assets, over a range of daily partitions where it has them.

    Returns the result; a failed step is in it, not raised.
    """
    from fraud_assets.definitions import definitions

    selected = dg.AssetSelection.from_string(selection)
    job = definitions().resolve_implicit_job_def_def_for_assets(
        selected.resolve(definitions().resolve_asset_graph())
    )
    tags = {RANGE_START_TAG: days[0], RANGE_END_TAG: days[1]} if days else {}
    with dagster_instance(settings) as instance:
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)

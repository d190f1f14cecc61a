"""The real graph, run in this process."""

from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from fraud_assets.definitions import definitions
from fraud_assets.runs.client import RANGE_END_TAG, RANGE_START_TAG
from fraud_core.settings import Settings

Run = Callable[..., dg.ExecuteInProcessResult]
NO_CAPTURE = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
}
"""Capturing output takes four processes a run, which Dagster waits for by the clock: a busy machine's run fails on it."""


@pytest.fixture(scope="session")
def graph() -> dg.Definitions:
    return definitions()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def in_settings(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], None]:
    """Make these settings the environment's, which is where a run takes them from."""

    def enter(settings: Settings) -> None:
        for name, value in settings.environment().items():
            monkeypatch.setenv(name, value)

    return enter


@pytest.fixture
def run(graph: dg.Definitions, instance: dg.DagsterInstance, in_settings: Callable[[Settings], None]) -> Run:
    """run(settings, job, days=(first, last), config=…): a job of the graph, to its end."""

    def execute(
        settings: Settings,
        job: str,
        days: tuple[str, str] | None = None,
        config: dict[str, object] | None = None,
        assets: list[str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        in_settings(settings)
        tags = {RANGE_START_TAG: days[0], RANGE_END_TAG: days[1]} if days else {}
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return graph.resolve_job_def(job).execute_in_process(
            run_config={"ops": config or {}} | quiet,
            instance=instance,
            tags=tags,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
        )

    return execute


def reasons(result: dg.ExecuteInProcessResult) -> str:
    """Why steps failed, as Dagster recorded it."""
    return "\n".join(str(event.step_failure_data.error) for event in result.get_step_failure_events())

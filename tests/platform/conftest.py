"""Steps of one story: when one fails, those after it are skipped, because they would only fail of the same cause."""

from collections.abc import Generator, Iterator

import pytest

from tests.platform.running import RunningPlatform

_FAILED = pytest.StashKey[str]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and item.parent is not None:
        item.parent.stash.setdefault(_FAILED, item.name)
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    failed = item.parent.stash.get(_FAILED, "") if item.parent is not None else ""
    if failed:
        pytest.skip(f"{failed} failed before")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """The whole platform, with small plans in short intervals, so that there is much to interrupt."""
    running = RunningPlatform(
        tmp_path_factory.mktemp("platform") / "home",
        plan_max_events=4_000,
        commit_interval_s=0.25,
        deadline_ms=5000,  # on a busy machine the usual budget would send a payment down the failure ladder
    )
    try:
        running.up()
        yield running
    finally:
        running.spearhead("down")

"""Short runs that are asked to stop end well: their work in hand takes a moment, and stopping the platform is no failure."""

import os
import signal
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fraud_core.settings import Settings
from tests.assets.orchestration.conftest import Run, reasons

pytestmark = pytest.mark.valkey


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("job", ["label_push", "quality_refresh"])
def test_a_run_that_is_asked_to_stop_finishes_what_it_does_and_succeeds(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, job: str, number: int
) -> None:
    reached: list[str] = []

    def asked(*_: object) -> Any:
        remembering, deadline = signal.getsignal(number), time.monotonic() + 60
        os.kill(os.getpid(), number)
        while signal.getsignal(number) is remembering:  # another thread may have been given it
            assert time.monotonic() < deadline, f"signal {number} was not heeded"
            time.sleep(0.001)
        reached.append(job)  # not reached, if the signal ended it
        return SimpleNamespace(added=3, late=0)

    work = {
        "online_state.assets.push_label_effects": asked,
        "online_state.assets.sweep_abandoned": lambda *_: 0,
        "quality.assets._told": telling(asked),
    }
    for name, instead in work.items():
        monkeypatch.setattr(f"fraud_assets.orchestration.{name}", instead)
    done = run(settings, job)
    assert done.success, reasons(done)
    assert reached


def telling(asked: Callable[[], Any]) -> Callable[..., list[Any]]:
    """Nothing to tell of an empty lake but that the work was done."""
    import dagster as dg

    def tell(*_: object) -> list[Any]:
        asked()
        names = ("refused_share", "new_reasons", "agrees_with_ledger")
        return [
            dg.MaterializeResult(),
            *(dg.AssetCheckResult(passed=True, check_name=name) for name in names),
        ]

    return tell

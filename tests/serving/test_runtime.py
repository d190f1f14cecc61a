"""The life of a scoring process."""

import asyncio
from typing import Any

import pytest

from fraud_core.errors import StateError
from fraud_core.settings import Settings
from fraud_serving.runtime import Runtime
from tests.serving.samples import event
from tests.serving.scoring.test_scorer import score

pytestmark = pytest.mark.valkey


def test_a_cancellation_that_a_dependency_swallows_does_not_keep_the_process_alive(serving: Settings) -> None:
    async def body() -> None:
        runtime = Runtime(serving, source="test")
        await runtime.start()
        tend, begun = runtime.store.tend, asyncio.Event()

        async def swallowing() -> None:
            begun.set()
            try:
                await asyncio.sleep(600)
            except (
                asyncio.CancelledError
            ):  # as asyncio.wait_for does when its future ended in the same moment
                await tend()

        runtime.store.tend = swallowing  # type: ignore[method-assign]  # stands in for one failure
        await asyncio.wait_for(begun.wait(), 60)
        await asyncio.wait_for(runtime.stop(), 60)

    asyncio.run(body())


def test_a_process_that_gets_no_payments_is_ready_again_once_redis_answers(
    serving: Settings, with_runtime: Any
) -> None:
    """Whoever is not ready gets none: a breaker that only a payment could close would never close."""

    async def body(runtime: Runtime) -> None:
        runtime.store.problem = "Redis does not answer."
        while not runtime.store.breaker.is_open:
            runtime.store.breaker.failed()
        assert "state" in runtime.readiness().missing
        await runtime.store.tend()
        assert runtime.readiness().missing == {}
        [outcome] = await score(runtime, event())
        assert b'"degraded":false' in outcome.content

    with_runtime(serving, body)


def test_a_look_that_began_before_a_loss_does_not_report_after_the_one_that_saw_it(
    serving: Settings, with_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(runtime: Runtime) -> None:
        begun, let_go = asyncio.Event(), asyncio.Event()

        async def look(_claims: Any) -> None:
            if not begun.is_set():
                begun.set()
                await let_go.wait()
                return  # all was well when it looked
            raise StateError("The state is lost.")

        monkeypatch.setattr(runtime.store._watch, "look", look)
        before = asyncio.create_task(runtime.store.tend())
        await begun.wait()
        after = asyncio.create_task(runtime.store.tend())
        for _ in range(10):  # as long as it takes to look where nothing has to be waited for
            await asyncio.sleep(0)
        let_go.set()
        await asyncio.gather(before, after)
        assert runtime.store.problem == "The state is lost."

    with_runtime(serving, body)

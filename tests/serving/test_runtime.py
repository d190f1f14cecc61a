"""The life of a scoring process."""

import asyncio

import pytest

from fraud_core.settings import Settings
from fraud_serving.runtime import Runtime

pytestmark = pytest.mark.valkey


def test_a_cancellation_that_a_dependency_swallows_does_not_keep_the_process_alive(serving: Settings) -> None:
    async def body() -> None:
        runtime = Runtime(serving, source="test")
        await runtime.start()
        tend, begun = runtime.store.tend, asyncio.Event()

        async def swallowing() -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            except (
                asyncio.CancelledError
            ):  # as asyncio.wait_for does when its future ended in the same moment
                await tend()

        runtime.store.tend = swallowing  # type: ignore[method-assign]
        await asyncio.wait_for(begun.wait(), 20)
        await asyncio.wait_for(runtime.stop(), 20)

    asyncio.run(body())

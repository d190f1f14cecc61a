"""One deadline for a whole request: what is slow takes from what is left, never from more."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from fraud_core.features.handover import gate_key
from fraud_core.settings import Settings
from fraud_serving.runtime import Runtime
from fraud_serving.scoring import store
from tests.serving.samples import event
from tests.serving.scoring.test_scorer import decisions, score

pytestmark = pytest.mark.valkey
DEADLINE_S = 4.0
MARGIN_S = 0.5
"""What scoring may add, and a machine that is busy for a moment; without one deadline for all, the answer comes a whole trip later."""
TICK_S = 0.02


class SlowNetwork:
    """Passes everything on; once `delay_s` is set, each reply comes so much later."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._target = (address.hostname, address.port)
        self.delay_s = 0.0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SlowNetwork"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection(*self._target)
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, back, slow=False), self._pass(there, writer, slow=True))
        for end in (writer, back):
            end.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await source.read(65536):
            if slow:
                await asyncio.sleep(self.delay_s)
            sink.write(data)
            await sink.drain()
        sink.close()


async def timed(runtime: Runtime, item: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The answer and the seconds it took, without those in which this process was given no processor."""
    stalled_s = 0.0

    async def notice_stalls() -> None:
        nonlocal stalled_s
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_S)
            over_s = time.monotonic() - before - TICK_S
            stalled_s += over_s if over_s > TICK_S else 0.0

    noticing = asyncio.create_task(notice_stalls())
    began = time.monotonic()
    [outcome] = await score(runtime, item)
    took_s = time.monotonic() - began
    noticing.cancel()
    return json.loads(outcome.content), took_s - stalled_s


@pytest.mark.parametrize("share", [0.3, 0.45])
def test_slow_round_trips_share_one_deadline_and_what_is_logged_late_is_logged(
    serving: Settings, share: float
) -> None:
    item = event()

    async def body() -> None:
        async with SlowNetwork(serving.redis_address).running() as network:
            own = serving.changed(
                redis_url=f"redis://127.0.0.1:{network.port}/0", deadline_ms=int(DEADLINE_S * 1000)
            )
            runtime = Runtime(own, source="test")
            await runtime.start()
            network.delay_s = share * DEADLINE_S
            answer, took_s = await timed(runtime, item)
            network.delay_s = 0.0
            await runtime.stop()
        assert took_s < DEADLINE_S + MARGIN_S
        if share > 0.4:  # after such a claim neither applying nor logging fits in any more
            assert (answer["route"], answer["logged"]) != ("champion", True)
            assert answer["degraded"]

    asyncio.run(body())
    [record] = decisions(serving)
    assert record["transaction_id"] == item["transaction_id"]
    # Though the decision could not wait for its features: what the state was given, the log tells.
    assert set(record["seqs"].values()) == {1}
    assert record["epoch"] > 0
    assert record["vector"]


def test_a_redis_that_hangs_costs_no_more_than_the_deadline(serving: Settings) -> None:
    async def body() -> None:
        async with SlowNetwork(serving.redis_address).running() as network:
            own = serving.changed(
                redis_url=f"redis://127.0.0.1:{network.port}/0", deadline_ms=int(DEADLINE_S * 1000)
            )
            runtime = Runtime(own, source="test")
            await runtime.start()
            network.delay_s = 60.0
            answer, took_s = await timed(runtime, event())
            await runtime.stop()
        assert took_s < DEADLINE_S + MARGIN_S
        assert (answer["logged"], answer["fallback_reason"]) == (False, "redis_unreachable")

    asyncio.run(body())


def test_a_payment_without_a_state_that_a_rebuild_holds_is_answered_by_its_deadline_and_logged_later(
    serving: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "HOLD_S", 60.0)  # not before this test is done with it
    own, item = serving.changed(deadline_ms=int(DEADLINE_S * 1000)), event()

    async def body(client: redis.Redis) -> None:
        runtime = Runtime(own, source="test")
        await runtime.start()
        client.delete(runtime.state.calls.epoch_key)
        gate, seconds = gate_key(own.namespace, 0), client.time()[0]
        client.hset(gate, mapping={"fenced": 0, "until_ms": (seconds + 60) * 1000, "held": 1})
        answer, took_s = await timed(runtime, item)
        assert took_s < DEADLINE_S + MARGIN_S
        assert (answer["logged"], answer["degraded"]) == (False, True)
        assert not decisions(own)
        client.hdel(gate, "held")
        await runtime.stop()

    with redis.Redis.from_url(serving.redis_address) as client:
        asyncio.run(body(client))
    assert [record["transaction_id"] for record in decisions(own)] == [item["transaction_id"]]

"""Batches against time: the application over a real Valkey, without BentoML around it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from fraud_core.settings import Settings
from fraud_serving.http import batches
from fraud_serving.http.app import HttpApp
from tests.serving.samples import event

pytestmark = pytest.mark.valkey
BATCH = "/v1/score/batch"


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[tuple[HttpApp, httpx.AsyncClient]]:
    served = HttpApp(settings)
    async with served.asgi.router.lifespan_context(served.asgi):
        transport = httpx.ASGITransport(served.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield served, client


def run(settings: Settings, body: Callable[[HttpApp, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with started(settings) as (served, client):
            await body(served, client)

    asyncio.run(whole())


async def claims(served: HttpApp) -> dict[str, bytes]:
    """Event id to the state of its claim: C claimed, D done."""
    client = served.runtime.state.client
    keys = [key async for key in client.scan_iter("*:claim:*", count=1000)]
    return {key.decode().rpartition(":")[2]: (await client.get(key))[:1] for key in keys}


def test_the_largest_batch_is_answered_in_full_and_one_more_event_is_refused(serving: Settings) -> None:
    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        response = await client.post(BATCH, json={"events": [event() for _ in range(1000)]})
        assert {each["status"] for each in response.json()["results"]} == {200}
        assert set((await claims(served)).values()) == {b"D"}
        assert (await client.post(BATCH, json={"events": [{}] * 1001})).status_code == 413

    run(serving, body)


def test_events_whose_turn_does_not_come_in_time_are_answered_one_by_one_and_left_untouched(
    serving: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        score = served.batches._score_chunk

        async def slow(*arguments: Any) -> list[bytes]:
            items = await score(*arguments)
            monkeypatch.setattr(
                batches,
                "time",
                SimpleNamespace(monotonic=lambda: float("inf"), perf_counter=time.perf_counter),
            )
            return items

        monkeypatch.setattr(served.batches, "_score_chunk", slow)
        events = [event() for _ in range(batches.CHUNK + 8)]
        response = await client.post(BATCH, json={"events": events})
        monkeypatch.undo()
        results = response.json()["results"]
        assert [each["status"] for each in results] == [200] * batches.CHUNK + [503] * 8
        assert results[-1]["problem"]["type"] == "urn:spearhead:problem:not-in-time"
        assert set(await claims(served)) == {each["transaction_id"] for each in events[: batches.CHUNK]}

    run(serving, body)


def test_when_too_many_batches_wait_the_next_is_turned_away_and_singles_are_served(serving: Settings) -> None:
    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        await served.batches.turn.acquire()
        batch = {"events": [event()]}
        waiting = [asyncio.create_task(client.post(BATCH, json=batch)) for _ in range(batches.AT_MOST)]
        while served.batches.count < batches.AT_MOST:  # noqa: ASYNC110 - it is this very loop that brings them there
            await asyncio.sleep(0)
        turned_away = await client.post(BATCH, json={"events": [event()]})
        assert (turned_away.status_code, turned_away.headers["Retry-After"]) == (503, "1")
        assert turned_away.headers["content-type"] == "application/problem+json"
        assert (await client.post("/v1/score", json=event())).status_code == 200
        served.batches.turn.release()
        assert {response.status_code for response in await asyncio.gather(*waiting)} == {200}

    run(serving, body)


def test_a_batch_that_waited_its_whole_time_is_turned_away(
    serving: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BUDGET_S", 0.05)

    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        async with served.batches.turn:
            response = await client.post(BATCH, json={"events": [event()]})
        assert (response.status_code, await claims(served), served.batches.count) == (503, {}, 0)

    run(serving, body)


def test_a_caller_that_gives_up_leaves_no_payment_applied_and_not_logged(serving: Settings) -> None:
    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        begun, store = asyncio.Event(), served.runtime.store
        claim_and_apply = store.claim_and_apply

        async def noticed(submissions: Any, deadline: float) -> Any:
            begun.set()
            return await claim_and_apply(submissions, deadline)

        store.claim_and_apply = noticed  # type: ignore[method-assign]  # stands in for one failure
        item = event()
        caller = asyncio.create_task(client.post("/v1/score", json=item))
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await served.runtime.scorer.settle()
        assert await claims(served) == {item["transaction_id"]: b"D"}

    run(serving, body)


def test_a_body_that_does_not_come_is_given_up(serving: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraud_serving.http.requests.BODY_TIMEOUT_S", 0.05)

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/score", content=endless())
        assert response.json()["type"] == "urn:spearhead:problem:body-too-slow"

    run(serving, body)

"""Batches: one at a time and in small chunks, so that single requests hardly notice; and none for longer than its budget."""

import asyncio
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from fraud_core.contracts import Contract
from fraud_serving.http.problems import not_answered, problem, respond
from fraud_serving.http.requests import (
    MAX_BATCH_BYTES,
    Refused,
    read_batch,
    read_body,
    read_event,
    trace_id_of,
)
from fraud_serving.scoring.scorer import Scorer
from fraud_serving.scoring.submission import Answered

CHUNK = 32
"""Events that are scored before single requests get their turn again."""
BUDGET_S = 10.0
"""Seconds that a batch may wait and be scored in; the largest takes 0.8 s beside other work on two cores."""
AT_MOST = 4
"""Batches in one process, the one that is scored included; more are turned away."""


class Batches:
    """The batches of one process."""

    def __init__(self, scorer: Scorer, contract: Contract) -> None:
        self._scorer = scorer
        self._contract = contract
        self.turn = asyncio.Semaphore(1)
        self.count = 0

    async def score(self, request: Request) -> Response:
        """POST /v1/score/batch."""
        received, trace_id = time.monotonic(), trace_id_of(request)
        if self.count == AT_MOST:
            return _turned_away(trace_id)
        self.count += 1
        try:
            events = read_batch(await read_body(request, MAX_BATCH_BYTES, trace_id), trace_id)
            deadline = time.monotonic() + BUDGET_S
            async with asyncio.timeout(BUDGET_S):
                await self.turn.acquire()
            try:
                items = await self._score(events, trace_id, received, deadline)
            finally:
                self.turn.release()
        except Refused as refused:
            return respond(refused.document)
        except TimeoutError:
            return _turned_away(trace_id)
        finally:
            self.count -= 1
        return Response(b'{"results":[' + b",".join(items) + b"]}", media_type="application/json")

    async def _score(
        self, events: list[bytes], trace_id: str, received: float, deadline: float
    ) -> list[bytes]:
        """An item per event; events whose turn does not come before the deadline are left untouched and say so."""
        items: list[bytes] = []
        while len(items) < len(events) and time.monotonic() < deadline:
            items += await self._score_chunk(events[len(items) : len(items) + CHUNK], trace_id, received)
            await asyncio.sleep(0)
        late = problem("not-in-time", "Nothing was done with this event; send it again.", trace_id)
        return items + [_item(late)] * (len(events) - len(items))

    async def _score_chunk(self, events: list[bytes], trace_id: str, received: float) -> list[bytes]:
        items: list[bytes] = [b""] * len(events)
        places, submissions = [], []
        for place, event in enumerate(events):
            try:
                submissions.append(read_event(self._contract, event, trace_id, received, "http"))
                places.append(place)
            except Refused as refused:
                items[place] = _item(refused.document)
        outcomes = await self._scorer.score(submissions) if submissions else []
        for place, submission, outcome in zip(places, submissions, outcomes, strict=True):
            if isinstance(outcome, Answered):
                items[place] = b'{"status":200,"answer":' + outcome.content + b"}"
            else:
                items[place] = _item(not_answered(outcome, submission))
        return items


def _turned_away(trace_id: str) -> Response:
    words = f"At most {AT_MOST} batches wait in one process, for {BUDGET_S:g} s. Nothing was done; send it again later."
    return respond(problem("too-many-batches", words, trace_id), {"Retry-After": "1"})


def _item(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"status": document["status"], "problem": document})

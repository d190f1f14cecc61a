"""Reading requests: bounded bodies, trace ids, batches, events that keep the contract."""

import asyncio
import re
import secrets
import time
from contextlib import suppress
from typing import Any

import msgspec
from starlette.requests import Request

from fraud_core.contracts import Contract
from fraud_serving.http.problems import problem
from fraud_serving.scoring import metrics
from fraud_serving.scoring.reading import ContractBroken, NotJson, read_submission
from fraud_serving.scoring.submission import Submission

MAX_EVENT_BYTES = 64 * 1024
MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_BATCH_EVENTS = 1000
MAX_PASSED_OVER_BYTES = 16 * 1024 * 1024
BODY_TIMEOUT_S = 5.0

_BATCH = msgspec.json.Decoder(dict[str, list[msgspec.Raw]])
_OPENING = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"events"[ \t\n\r]*:[ \t\n\r]*\[[ \t\n\r]*')
_BETWEEN = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
_CLOSING = re.compile(rb"[ \t\n\r]*\][ \t\n\r]*\}[ \t\n\r]*")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Refused(Exception):
    """A request that gets a problem document for an answer."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document["detail"])
        self.document = document


def trace_id_of(request: Request) -> str:
    """The trace that the caller named in `traceparent` (W3C), or a new one."""
    header = request.headers.get("traceparent")
    found = _TRACEPARENT.fullmatch(header) if header else None
    return found[1] if found else secrets.token_hex(16)


async def read_body(request: Request, limit: int, trace_id: str) -> bytes:
    """The body. Raises Refused when it is longer than `limit` bytes or too slow in coming."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        if "expect" not in request.headers:  # else the caller waits for a word before it sends anything
            await _pass_over(request)
        raise Refused(_too_large(limit, trace_id))
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    await _pass_over(request)
                    raise Refused(_too_large(limit, trace_id))
                chunks.append(chunk)
    except TimeoutError:
        words = f"Expected the whole body within {BODY_TIMEOUT_S:g} s; {size} bytes came."
        raise Refused(problem("body-too-slow", words, trace_id)) from None
    return b"".join(chunks)


async def _pass_over(request: Request) -> None:
    """Take the rest of a body that is refused, within bounds: a connection that closes on unread bytes is reset, and the
    answer is lost with it."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_PASSED_OVER_BYTES:
                    return


def read_event(contract: Contract, payload: bytes, trace_id: str, received: float, source: str) -> Submission:
    """One event that keeps the contract. Raises Refused with every violation named."""
    try:
        return read_submission(
            contract, payload, known_ms=time.time_ns() // 1_000_000, trace_id=trace_id, received=received
        )
    except NotJson as error:
        metrics.REFUSED.labels(source).inc()
        raise Refused(problem("malformed-body", str(error), trace_id)) from None
    except ContractBroken as error:
        metrics.REFUSED.labels(source).inc()
        raise Refused(problem("invalid-event", str(error), trace_id, error.violations)) from None


def read_batch(body: bytes, trace_id: str) -> list[bytes]:
    """The events of a batch, each as its own bytes. Raises Refused, also where `events` is given twice."""
    try:
        batch = _BATCH.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        batch = {}
    events = [bytes(event) for event in batch.get("events", ())]
    if batch.keys() != {"events"} or not _is_whole(body, events):
        raise Refused(
            problem("malformed-body", 'Expected {"events": [event, …]}, once and nothing else.', trace_id)
        )
    if len(events) > MAX_BATCH_EVENTS:
        raise Refused(
            problem(
                "batch-too-large",
                f"Expected at most {MAX_BATCH_EVENTS} events, found {len(events)}. Send several batches.",
                trace_id,
            )
        )
    return events


def _is_whole(body: bytes, events: list[bytes]) -> bool:
    """Whether the body consists of these events. Of a key that is given twice the decoder keeps the last without a word."""
    found = _OPENING.match(body)
    for place, event in enumerate(events):
        if found is None or not body.startswith(event, found.end()):
            return False
        end = found.end() + len(event)
        found = (_BETWEEN if place + 1 < len(events) else _CLOSING).match(body, end)
    if not events and found is not None:
        found = _CLOSING.match(body, found.end())
    return found is not None and found.end() == len(body)


def _too_large(limit: int, trace_id: str) -> dict[str, Any]:
    return problem("body-too-large", f"Expected at most {limit} bytes.", trace_id)

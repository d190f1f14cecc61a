"""Reading requests: bounded bodies, strict JSON, trace ids, events that keep the contract."""

import re
import secrets
import time
from typing import Any

import msgspec
from starlette.requests import Request

from fraud_core.contracts import Contract, check_event
from fraud_serving.http.problems import problem
from fraud_serving.scoring import metrics
from fraud_serving.scoring.submission import Submission, submit

MAX_EVENT_BYTES = 64 * 1024
MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_BATCH_EVENTS = 1000

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


async def read_json(request: Request, limit: int, trace_id: str) -> Any:
    """The body as JSON. Raises Refused when it is longer than `limit` bytes or no JSON."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise Refused(_too_large(limit, trace_id))
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise Refused(_too_large(limit, trace_id))
        chunks.append(chunk)
    try:
        return msgspec.json.decode(b"".join(chunks))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(
            problem("malformed-body", f"Expected JSON in UTF-8: {error}. See /docs for an example.", trace_id)
        ) from None


def read_event(contract: Contract, event: Any, trace_id: str, received: float, source: str) -> Submission:
    """One event that keeps the contract. Raises Refused with every violation named."""
    if not isinstance(event, dict):
        found = type(event).__name__
        raise Refused(
            problem("invalid-event", f"Expected a JSON object with one event, found {found}.", trace_id)
        )
    violations = check_event(contract, event, time.time_ns() // 1_000_000)
    if violations:
        metrics.REFUSED.labels(source).inc()
        codes = ", ".join(violation.code for violation in violations)
        raise Refused(
            problem("invalid-event", f"{len(violations)} violation(s): {codes}.", trace_id, violations)
        )
    return submit(contract, event, trace_id, received)


def read_batch(body: Any, trace_id: str) -> list[Any]:
    """The events of a batch. Raises Refused."""
    events = body.get("events") if isinstance(body, dict) and body.keys() == {"events"} else None
    if not isinstance(events, list):
        raise Refused(
            problem("malformed-body", 'Expected {"events": [event, …]} and nothing else.', trace_id)
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


def _too_large(limit: int, trace_id: str) -> dict[str, Any]:
    return problem("body-too-large", f"Expected at most {limit} bytes.", trace_id)

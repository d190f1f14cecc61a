"""Errors as problem documents (RFC 9457): a stable type, a title, what was found, what to do."""

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from fraud_core.contracts import Violation
from fraud_serving.scoring.submission import Busy, Conflict, Submission

MEDIA_TYPE = "application/problem+json"
TITLES = {
    "malformed-body": (400, "The body is not JSON"),
    "invalid-event": (422, "The event breaks the contract"),
    "id-conflict": (409, "The event id is known with another body"),
    "in-progress": (503, "The same event is being scored right now"),
    "body-too-large": (413, "The body is too large"),
    "batch-too-large": (413, "The batch holds too many events"),
    "body-too-slow": (408, "The body did not arrive in time"),
    "too-many-batches": (503, "Too many batches are waiting"),
    "not-in-time": (503, "The batch's time was up before this event's turn"),
    "not-found": (404, "There is nothing here"),
    "unknown-entity": (404, "The feature declaration knows no such entity"),
    "id-too-long": (414, "The entity id is too long"),
    "invalid-moment": (422, "The moment asked for is none"),
    "no-state": (503, "The online state cannot be asked now"),
    "method-not-allowed": (405, "This address does not answer that method"),
    "internal": (500, "Something went wrong inside the service"),
}


def problem(
    kind: str, detail: str, trace_id: str = "", violations: Sequence[Violation] = ()
) -> dict[str, Any]:
    """A problem document of one of the kinds in TITLES."""
    status, title = TITLES[kind]
    document: dict[str, Any] = {
        "type": f"urn:spearhead:problem:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if trace_id:
        document["trace_id"] = trace_id
    if violations:
        document["violations"] = [
            {"code": each.code, "field": each.field, "message": each.message} for each in violations
        ]
    return document


def not_answered(outcome: Conflict | Busy, submission: Submission) -> dict[str, Any]:
    """Why a payment that keeps its contract got no answer."""
    if isinstance(outcome, Conflict):
        return problem(
            "id-conflict",
            f"{submission.event_id!r} was scored with another body. Send a new id for a new payment.",
            submission.trace_id,
        )
    return problem(
        "in-progress",
        f"{submission.event_id!r} is being scored. Ask again for its answer.",
        submission.trace_id,
    )


def respond(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """A problem document as a response."""
    return Response(msgspec.json.encode(document), document["status"], media_type=MEDIA_TYPE, headers=headers)

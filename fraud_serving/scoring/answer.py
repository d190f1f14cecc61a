"""What the caller is told, and what the log keeps: two views of one decision."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from fraud_serving.scoring.fallback import Decision
from fraud_serving.scoring.submission import Submission

_ENCODE = msgspec.json.Encoder().encode


class Reason(msgspec.Struct, frozen=True):
    """Why: the name of a feature or rule, and its sentence."""

    code: str
    text: str
    value: float | None = None
    """The feature's value, so that the sentence can be weighed; null where it has none, and for a rule."""
    contribution: float | None = None
    """How far the feature raised the score, in log odds: much below 1 says little."""


class Answer(msgspec.Struct, frozen=True):
    """The answer to one payment."""

    transaction_id: str
    score: float | None
    decision: Decision
    reasons: list[Reason]
    model_version: str | None
    route: str
    backend: str
    fallback_reason: str | None
    degraded: bool
    """The decision may differ from what the champion on full features would have said, or could not be logged."""
    logged: bool
    trace_id: str
    latency_ms: float

    def encode(self) -> bytes:
        """As JSON."""
        return _ENCODE(self)


class State(msgspec.Struct, frozen=True):
    """What the online state gave: where in each entity's order the payment stands, and the vector."""

    epoch: int
    seqs: dict[str, int]
    vector: list[float]


NO_STATE = State(0, {}, [])


def encode_record(answer: Answer, submission: Submission, state: State, feature_set_hash: str) -> bytes:
    """The entry for the decisions stream; NaN in the vector becomes null."""
    now = datetime.now(UTC)
    record: dict[str, Any] = {
        "transaction_id": answer.transaction_id,
        "event_ts": submission.event_ts,
        "decided_at": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
        "score": answer.score,
        "decision": answer.decision,
        "reasons": [reason.code for reason in answer.reasons],
        "model_version": answer.model_version,
        "route": answer.route,
        "backend": answer.backend,
        "fallback_reason": answer.fallback_reason,
        "trace_id": answer.trace_id,
        "latency_ms": answer.latency_ms,
        "epoch": state.epoch,
        "seqs": state.seqs,
        "vector": state.vector,
        "feature_set_hash": feature_set_hash,
        "event": submission.event,
    }
    return _ENCODE(record)

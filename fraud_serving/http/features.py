"""GET /v1/features/{entity}/{id}: what a payment of this entity would find now, read without changing anything.

The id is personal data where the contract says so: it is neither logged nor repeated in a problem document.
"""

import time
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from fraud_core.errors import StateError, StateLost
from fraud_core.features import EntityFeatures, FeatureSet
from fraud_core.features.source import nearest
from fraud_serving.http.problems import problem, respond
from fraud_serving.http.requests import trace_id_of
from fraud_serving.runtime import Runtime

MAX_ID_BYTES: Final = 512
NOW: Final = "now"
CLOCK: Final = "clock"


async def read_features(runtime: Runtime, request: Request) -> Response:
    """Answer a request; its path has `entity` and `id`."""
    trace_id = trace_id_of(request)
    entity, id = request.path_params["entity"], request.path_params["id"]
    if entity not in runtime.features.plans:
        words = f"There is no entity of that name: {nearest(entity[:64], runtime.features.plans)}"
        return respond(problem("unknown-entity", words, trace_id))
    if not id:
        words = f"Expected the id of one {entity} behind the last slash: /v1/features/{entity}/<id>."
        return respond(problem("not-found", words, trace_id))
    if len(id.encode()) > MAX_ID_BYTES:
        words = f"Expected an entity id of at most {MAX_ID_BYTES} bytes, found {len(id.encode())}."
        return respond(problem("id-too-long", words, trace_id))
    as_of_ms = _moment(request.query_params.get("as_of", CLOCK))
    if as_of_ms is None:
        words = "as_of was expected to be clock, now or a time such as 2026-09-01T12:00:00Z."
        return respond(problem("invalid-moment", words, trace_id))
    try:
        found = await runtime.store.read(entity, id, as_of_ms)
    except StateLost as error:
        return respond(problem("no-state", str(error), trace_id), {"Retry-After": "5"})
    except StateError as error:
        return respond(problem("no-state", str(error), trace_id), {"Retry-After": "1"})
    return Response(msgspec.json.encode(document(runtime.features, found)), media_type="application/json")


def document(features: FeatureSet, found: EntityFeatures) -> dict[str, Any]:
    """What is answered: null for a value that there is nothing to compute from."""
    return {
        "entity": found.entity,
        "id": found.id,
        "seen": found.seen,
        "epoch": found.epoch,
        "seq": found.seq,
        "clock": _text(found.clock_ms),
        "as_of": _text(found.as_of_ms) if found.as_of_ms else None,
        "features": {name: None if value != value else value for name, value in found.values.items()},  # noqa: PLR0124 (NaN is absent)
        "needs_payment": list(found.asking),
        "feature_set_hash": features.hash,
    }


def _moment(text: str) -> int | None:
    """Milliseconds; 0 for the entity's own clock, None for what is no moment."""
    if text == CLOCK:
        return 0
    if text == NOW:
        return time.time_ns() // 1_000_000
    try:
        moment = datetime.fromisoformat(text)
        found = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None
    return found if 0 < found < 1 << 47 else None


def _text(ms: int | None) -> str | None:
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

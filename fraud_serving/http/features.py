"""GET /v1/features/{entity}/{id}: what a payment of this entity would find now, read without changing anything.

The id is personal data where the contract says so: it is neither logged nor repeated in a problem document.
"""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from fraud_core.errors import StateError, StateLost
from fraud_core.features import EntityFeatures, FeatureSet
from fraud_core.features.moment import CLOCK, moment_ms, moment_text, said_of_moment
from fraud_core.features.source import nearest
from fraud_serving.http.problems import problem, respond
from fraud_serving.http.requests import trace_id_of
from fraud_serving.runtime import Runtime

MAX_ID_BYTES: Final = 512


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
    asked = request.query_params.multi_items()
    if [name for name, _ in asked] not in ([], ["as_of"]):
        names = ", ".join(sorted({name[:64] for name, _ in asked}))
        words = f"Expected no parameter but as_of, once; found {len(asked)}: {names}."
        return respond(problem("invalid-moment", words, trace_id))
    try:
        as_of_ms = moment_ms(request.query_params.get("as_of", CLOCK))
    except StateError as error:
        words = f"{error} In an address a + is written %2B."
        return respond(problem("invalid-moment", words, trace_id))
    try:
        found = await runtime.store.read(entity, id, as_of_ms)
    except StateLost as error:
        return respond(problem("no-state", str(error), trace_id), {"Retry-After": "5"})
    except StateError as error:
        return respond(problem("no-state", str(error), trace_id), {"Retry-After": "1"})
    return Response(
        msgspec.json.encode(document(runtime.features, found, as_of_ms)), media_type="application/json"
    )


def document(features: FeatureSet, found: EntityFeatures, asked_ms: int = 0) -> dict[str, Any]:
    """What is answered: null for a value that there is nothing to compute from."""
    return {
        "entity": found.entity,
        "id": found.id,
        "seen": found.seen,
        "epoch": found.epoch,
        "seq": found.seq,
        "clock": None if found.clock_ms is None else moment_text(found.clock_ms),
        "as_of": moment_text(found.as_of_ms) if found.as_of_ms else None,
        "as_of_note": said_of_moment(asked_ms, found),
        "features": {name: None if value != value else value for name, value in found.values.items()},  # noqa: PLR0124 (NaN is absent)
        "needs_payment": list(found.asking),
        "feature_set_hash": features.hash,
    }

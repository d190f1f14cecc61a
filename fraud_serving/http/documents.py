"""The OpenAPI document, made from the contract, and the page that shows it without any outside file."""

from pathlib import Path
from typing import Any, Final

import msgspec

from fraud_core.contracts import Contract
from fraud_core.features import FeatureSet
from fraud_serving.http.features import MAX_ID_BYTES
from fraud_serving.http.problems import MEDIA_TYPE, TITLES
from fraud_serving.http.requests import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_EVENT_BYTES
from fraud_serving.scoring.answer import Answer
from fraud_serving.scoring.fallback import DECISIONS

DOCS_PAGE: Final = Path(__file__).with_name("docs.html")
EXAMPLE_ANSWER: Final = {
    "transaction_id": "txn_00f3a9c41b7e", "score": 0.4123, "decision": "review",
    "reasons": [{
        "code": "account_count_10m", "text": "Many payments of the account in the last 10 minutes.",
        "value": 7.0, "contribution": 2.31,
    }],
    "model_version": "m-20260901T000000Z-1a2b3c4d", "route": "champion", "backend": "triton", "fallback_reason": None,
    "degraded": False, "logged": True, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "latency_ms": 2.1,
}  # fmt: skip


def openapi(contract: Contract, features: FeatureSet, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the service for one transactions contract."""
    event = contract.json_schema()
    event.pop("$schema", None)
    (_,), components = msgspec.json.schema_components([Answer], ref_template="#/components/schemas/{name}")
    answer = components["Answer"]
    answer["properties"]["decision"] = {"type": "string", "enum": list(DECISIONS)}
    answer["examples"] = [EXAMPLE_ANSWER | {"transaction_id": contract.example()[contract.event_id]}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spearhead scoring",
            "version": version,
            "description": "Scores payments for fraud. The event is what the data contract "
            f"`{contract.name}` {contract.version} says; unknown fields are refused.",
        },
        "paths": {
            "/v1/score": {"post": _score()},
            "/v1/score/batch": {"post": _batch(contract)},
            "/v1/model": {
                "get": _get("What is live: the champion, its thresholds and metrics, and where it runs")
            },
            "/v1/features/{entity}/{id}": {"get": _features(features)},
            "/livez": {"get": _get("Whether the process runs")},
            "/readyz": {
                "get": _get("Whether everything that scoring needs is there", missing="What is missing")
            },
            "/metrics": {"get": _get("Prometheus metrics", media_type="text/plain")},
        },
        "components": {
            "schemas": components
            | {"Event": event, "Answer": answer, "Problem": _problem_schema(), "BatchItem": _item()}
        },
    }


def _features(features: FeatureSet) -> dict[str, Any]:
    text = {"type": "string"}
    moment = {"type": ["string", "null"], "format": "date-time"}
    entity = next(iter(features.plans), "account")
    own = [feature.name for feature in features.features if feature.entities == (entity,)]
    example = {
        "entity": entity, "id": f"{entity}_000001", "seen": True, "epoch": 3, "seq": 41, "clock": "2026-09-01T12:34:56.789Z",
        "as_of": "2026-09-01T12:34:56.789Z", "as_of_note": None, "features": dict.fromkeys(own[:3], 2.0), "needs_payment": own[-1:],
        "feature_set_hash": features.hash,
    }  # fmt: skip
    unseen = example | {"id": "nobody", "seen": False, "seq": 0, "clock": None, "as_of": None} | {
        "features": dict.fromkeys(own[:3], 0.0)
    }  # fmt: skip
    schema = {
        "type": "object",
        "required": list(example),
        "properties": {
            "entity": text, "id": text, "seen": {"type": "boolean"}, "epoch": {"type": "integer"}, "seq": {"type": "integer"},
            "clock": moment, "as_of": moment,
            "as_of_note": {"type": ["string", "null"], "description": "Said where the moment asked for lies before the entity's clock."},
            "features": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
            "needs_payment": {"type": "array", "items": text}, "feature_set_hash": text,
        },
        "examples": [example, unseen],
    }  # fmt: skip
    found = _responses(schema, "unknown-entity", "id-too-long", "invalid-moment", "no-state")
    found["200"]["description"] = "Read"
    return {
        "summary": "The current features of one entity",
        "description": "What a payment of this entity would find at `as_of`, before it is counted itself; nothing is changed by asking. An "
        "id that was never seen has the values of an empty past, and `seen: false`. Features that ask something of the payment have no "
        "value here: `needs_payment` names them.",
        "parameters": [
            {"name": "entity", "in": "path", "required": True, "schema": {"type": "string", "enum": list(features.plans)}},
            {"name": "id", "in": "path", "required": True, "schema": text | {"maxLength": MAX_ID_BYTES}},
            {
                "name": "as_of", "in": "query", "schema": text | {"default": "clock"},
                "description": "clock: the entity's own clock, the latest event time it has met. now, or an ISO 8601 time, in UTC where it names no "
                "zone (a + is written %2B). A moment before that clock is answered as of the clock, and `as_of_note` says so.",
            },
        ],
        "responses": found,
    }  # fmt: skip


def docs_page() -> str:
    """The page at /docs: one file, no outside script, style or font."""
    return DOCS_PAGE.read_text(encoding="utf-8")


def _score() -> dict[str, Any]:
    return {
        "summary": "Score one payment",
        "description": "Idempotent by event id: the same body gets the first answer again (header Idempotent-Replay: true), "
        f"another body 409. At most {MAX_EVENT_BYTES} bytes. Send `traceparent` to name the trace.",
        "parameters": [
            {
                "name": "durability", "in": "query", "schema": {"type": "boolean", "default": False},
                "description": "Add what `logged: true` promises, as the log's server says it now: `durability`. The header Durability: true asks too.",
            }
        ],
        "requestBody": _body({"$ref": "#/components/schemas/Event"}),
        "responses": _responses(
            {"$ref": "#/components/schemas/Answer"},
            "malformed-body", "body-too-slow", "id-conflict", "body-too-large", "invalid-event", "in-progress",
        ),
    }  # fmt: skip


def _batch(contract: Contract) -> dict[str, Any]:
    return {
        "summary": "Score many payments",
        "description": f"At most {MAX_BATCH_EVENTS} events and {MAX_BATCH_BYTES} bytes. One item per event, in order: an answer, or the "
        "problem that the event alone would have got. Events are applied in the order given; those whose turn does not come in time "
        "are left untouched and answered with 503.",
        "requestBody": _body(
            {
                "type": "object",
                "required": ["events"],
                "additionalProperties": False,
                "properties": {
                    "events": {
                        "type": "array",
                        "maxItems": MAX_BATCH_EVENTS,
                        "items": {"$ref": "#/components/schemas/Event"},
                    }
                },
                "examples": [{"events": [contract.example()]}],
            }
        ),
        "responses": _responses(
            {
                "type": "object",
                "required": ["results"],
                "properties": {"results": {"type": "array", "items": {"$ref": "#/components/schemas/BatchItem"}}},
            },
            "malformed-body", "body-too-slow", "body-too-large", "batch-too-large", "too-many-batches",
        ),
    }  # fmt: skip


def _get(summary: str, *, media_type: str = "application/json", missing: str = "") -> dict[str, Any]:
    described = {"200": "OK"} | ({"503": missing} if missing else {})
    responses = {
        code: {"description": words, "content": {media_type: {}}} for code, words in described.items()
    }
    return {"summary": summary, "responses": responses}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses(schema: dict[str, Any], *problems: str) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "Scored", "content": {"application/json": {"schema": schema}}}
    }
    for kind in problems:
        status, title = TITLES[kind]
        known = responses.setdefault(
            str(status),
            {
                "description": title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
        if title not in known["description"]:
            known["description"] += f"; or: {title}"
    return responses


def _item() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {
                "type": "integer",
                "description": "The HTTP status that the event alone would have got.",
            },
            "answer": {"$ref": "#/components/schemas/Answer"},
            "problem": {"$ref": "#/components/schemas/Problem"},
        },
    }


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    violation = {"code": text, "field": {"type": ["string", "null"]}, "message": text}
    return {
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": [f"urn:spearhead:problem:{kind}" for kind in TITLES]},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "trace_id": text,
            "violations": {"type": "array", "items": {"type": "object", "properties": violation}},
        },
    }

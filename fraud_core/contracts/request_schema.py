"""The contract as JSON Schema 2020-12 of one event: what the scoring API documents and its clients generate code from."""

from typing import Any

from fraud_core.contracts.model import Contract, Field
from fraud_core.contracts.rules import bound_text
from fraud_core.contracts.times import DATE_PATTERN, TIMESTAMP_PATTERN

_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "timestamp": {"type": "string", "format": "date-time", "pattern": TIMESTAMP_PATTERN},
    "date": {"type": "string", "format": "date", "pattern": DATE_PATTERN},
    "object": {"type": "object"},
}


def json_schema(contract: Contract) -> dict[str, Any]:
    """JSON Schema of one event; optional fields may be absent or null, other fields are refused."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": contract.name,
        "description": contract.description,
        "type": "object",
        "properties": {field.name: _property(field) for field in contract.fields},
        "required": [field.name for field in contract.fields if field.required],
        "additionalProperties": False,
        "examples": [contract.example()],
    }


def _property(field: Field) -> dict[str, Any]:
    if field.type == "array":
        schema: dict[str, Any] = {"type": "array", "items": {"type": [field.item_type, "null"]}}
    else:
        schema = dict(_TYPES[field.type])
    if field.description:
        schema["description"] = _described(field)
    for key, value in (
        ("pattern", field.pattern),
        ("minLength", field.min_length),
        ("maxLength", field.max_length),
        ("enum", list(field.enum) or None),
    ):
        if value is not None:
            schema[key] = value
    if field.type in {"integer", "number"}:
        schema |= {
            key: value
            for key, value in (("minimum", field.minimum), ("maximum", field.maximum))
            if value is not None
        }
    if field.examples:
        schema["examples"] = list(field.examples)
    if not field.required:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _described(field: Field) -> str:
    """The description, with the bounds that JSON Schema cannot state."""
    text = field.description
    if field.type in {"timestamp", "date"} and field.minimum is not None:
        text += f" Not before {bound_text(field, field.minimum)}."
    return text

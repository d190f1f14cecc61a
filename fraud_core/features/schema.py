"""The JSON schema of features.yaml, for editors; made from the operators, so that it knows exactly what the reader does.

It helps while typing. What rests on the contract (fields, entities, windows within the history) is the reader's to judge.
"""

from typing import Any

from fraud_core.features.ask import Operator
from fraud_core.features.declaration import FEWEST_BUCKETS, LARGEST_CAP
from fraud_core.features.operators import OPERATORS
from fraud_core.features.plan import Layout
from fraud_core.features.rings import MAX_BUCKETS

_DURATION: dict[str, Any] = {
    "type": "string",
    "pattern": "^[1-9][0-9]*[smhd]$",
    "description": "A duration such as 30s, 10m, 1h or 7d.",
}
_FIELD = {"type": "string", "description": "A field of the transactions contract."}
_PLACE = {
    "type": "array",
    "items": _FIELD,
    "minItems": 2,
    "maxItems": 2,
    "description": "Two fields: [latitude, longitude].",
}
_HOUR = {"type": "integer", "minimum": 0, "maximum": 23}
_FEATURE = {"type": "string", "description": "A feature that is declared earlier."}
_SHAPES: dict[str, dict[str, Any]] = {
    "entity": {"type": "string", "description": "An entity declared above."},
    "of": _FIELD,
    "date": _FIELD,
    "left": _FIELD,
    "right": _FIELD,
    "window": _DURATION,
    "lag": _DURATION | {"description": "Leave out this much time just before the event."},
    "older_than": _DURATION,
    "where": {"type": "string", "description": "A filter declared above."},
    "past": {"type": "boolean", "description": "Leave the event itself out of its window."},
    "unit": {"type": "number", "description": "The step in which a field with decimals is counted."},
    "empty": {"type": "number", "description": "The value where there is nothing to compare with."},
    "which": {"enum": ["newest", "oldest"]},
    "as": {"enum": ["enum", "digits", "buckets"]},
    "buckets": {"type": "integer", "minimum": 2, "maximum": 1_000_000},
    "from": _PLACE,
    "to": _PLACE,
    "at": _PLACE,
}
_OF_OPERATOR: dict[tuple[str, str], dict[str, Any]] = {
    ("night", "from"): _HOUR,
    ("night", "to"): _HOUR,
    ("ratio", "of"): _FEATURE,
    ("ratio", "over"): _FEATURE,
    ("quantile", "at"): {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "A share; 0.5 is the median.",
    },
}
_OPTIONAL = frozenset({"lag", "where", "past", "unit", "empty", "which", "as", "buckets", "window"})
"""`window` too: where it stands in a feature's name, it comes from `windows`."""


def declaration_schema() -> dict[str, Any]:
    """The schema, as plain data."""
    feature = {
        "type": "object",
        "properties": {
            "reason": {
                "type": "string",
                "description": "A sentence that tells a person what the feature says.",
            },
            "absent": {
                "type": "string",
                "description": "What is said where the feature has no value; left out, it gives no reason then.",
            },
            "above": {"type": "number", "description": "The reason is said of larger values only."},
            "below": {"type": "number", "description": "The reason is said of smaller values only."},
            "windows": {
                "type": "array",
                "items": _DURATION,
                "minItems": 1,
                "description": "One feature for each; `{window}` stands in the feature's name.",
            },
            **{name: _arguments(operator) for name, operator in sorted(OPERATORS.items())},
        },
        "required": ["reason"],
        "additionalProperties": False,
        "oneOf": [{"required": [name]} for name in sorted(OPERATORS)],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Spearhead: features.yaml",
        "type": "object",
        "properties": {
            "version": {"const": 1, "description": "Of this file's form."},
            "answer_ttl": _DURATION
            | {"description": "How long an event that comes again gets its first answer."},
            "entities": {"type": "object", "additionalProperties": _entity()},
            "filters": {
                "type": "object",
                "description": "Named conditions on an event: field to the values that pass.",
                "additionalProperties": {"type": "object"},
            },
            "features": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": "^[a-z][a-z0-9_]*(\\{window\\}[a-z0-9_]*)?$"},
                "additionalProperties": feature,
            },
        },
        "required": ["version", "features"],
        "additionalProperties": False,
    }


def _entity() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "history": _DURATION | {"description": "How far back the entity's past is remembered."},
            "layout": {
                "enum": [str(layout) for layout in Layout],
                "description": "list: the newest events themselves, exact windows. buckets: totals per bucket of time, "
                "for entities too busy for a list.",
            },
            "remember": {
                "type": "integer",
                "minimum": 1,
                "maximum": LARGEST_CAP,
                "description": "Events that a list remembers at most.",
            },
            "resolution": {
                "type": "integer",
                "minimum": FEWEST_BUCKETS,
                "maximum": MAX_BUCKETS,
                "description": "Buckets per window.",
            },
        },
        "required": ["history"],
        "additionalProperties": False,
    }


def _arguments(operator: Operator) -> dict[str, Any]:
    shapes = {name: _OF_OPERATOR.get((operator.name, name)) or _SHAPES[name] for name in operator.arguments}
    needed = [name for name in operator.arguments if name not in _OPTIONAL and operator.name != "night"]
    return {
        "type": "object" if needed else ["object", "null"],
        "description": operator.summary[:1].upper() + operator.summary[1:] + ".",
        "properties": shapes,
        "required": needed,
        "additionalProperties": False,
    }

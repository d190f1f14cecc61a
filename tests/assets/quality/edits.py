"""Events that break a contract in every way it can be broken, made from the contract itself."""

import json
from typing import Any, Final

from fraud_core.contracts import Contract, Field, day_text, timestamp_text, timestamp_us

ABSENT: Final = "(absent)"
REPEAT: Final = "(the id of the first event)"
Edit = tuple[str, Any]

_OTHER_TYPES: Final[list[Any]] = [
    "a text",
    7,
    7.5,
    True,
    [1.5],
    {"a": 1},
    "7",
    [],
    "2026-13-01",
    "2026-09-01 00:00",
    1 << 63,
]


def known_ms(contract: Contract) -> int:
    """When the events become known: a second after all that the contract's example tells."""
    times = [
        timestamp_us(contract.example()[each.name]) for each in contract.fields if each.type == "timestamp"
    ]
    return max(each for each in times if each is not None) // 1000 + 1000


def edits(contract: Contract) -> list[Edit]:
    """All single changes to the contract's example: a field and the value it gets."""
    found: list[Edit] = [("unknown_field", "x"), (contract.event_id, REPEAT)]
    for field in contract.fields:
        found += [
            (field.name, value)
            for value in (ABSENT, None, *_OTHER_TYPES, *_values(field, known_ms(contract)))
        ]
    return found


def _values(field: Field, known: int) -> list[Any]:
    """On, beside and beyond every bound of a field."""
    made: list[Any] = list(field.enum[:2]) + (
        ["off the list" if field.type == "string" else -987] if field.enum else []
    )
    for bound, beyond in ((field.minimum, -1), (field.maximum, 1)):
        if bound is not None:
            made += [_literal(field, bound), _literal(field, bound + beyond), _literal(field, bound - beyond)]
    for length, beyond in ((field.min_length, -1), (field.max_length, 1)):
        if length is not None:
            made += ["a" * length, "a" * max(0, length + beyond)]
    if field.type == "string":
        made += ["", "é", "abc\n", "٣٣٣٣", "4111111111111111", "0000", "ecom", "EUR", "DE"]
    if field.type == "number":
        made += [0, -0.0, 1e308, 90.000001, 1e400]
    if field.type == "boolean":
        made += [True, False]
    if field.type == "timestamp":
        made += [timestamp_text((known + ahead) * 1000) for ahead in (60_000, 60_001, -60_000)]
    if field.type == "date":
        made += ["2026-09-01", "2026-09-02", "1969-12-31"]
    if field.type == "array":
        made += [["a"], [0.5, None], [1e39], [None]]
    return made


def _literal(field: Field, bound: float) -> Any:
    if field.type == "timestamp":
        return timestamp_text(int(bound))
    return day_text(int(bound)) if field.type == "date" else bound


def event(contract: Contract, number: int, changes: list[Edit]) -> dict[str, Any]:
    """The contract's example under an id of its own, changed."""
    made = {**contract.example(), contract.event_id: f"event_{number:06d}"}
    for name, value in changes:
        if value == ABSENT:
            made.pop(name, None)
        elif value == REPEAT:
            made[name] = f"event_{0:06d}"
        else:
            made[name] = value
    return made


def payload(made: dict[str, Any]) -> bytes:
    """The event as a producer sends it; a number beyond every float is written as JSON writes it."""
    return json.dumps(made).replace("Infinity", "1e400").encode()

"""The check of a single event, for HTTP and for bytes that the fast reader hands back: the same reason codes as `judge`.

Compiled once per contract, some microseconds per event. A property test holds the two together.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fraud_core.contracts.luhn import is_card_number
from fraud_core.contracts.model import Contract, Field
from fraud_core.contracts.rules import UNKNOWN_FIELD, UNPARSEABLE
from fraud_core.contracts.scanner import DEEPEST
from fraud_core.contracts.times import day_number, timestamp_us

_Test = tuple[str, Callable[[Any], bool]]
_I64 = 1 << 63
_FLOAT32_LIMIT = 3.4028235677973366e38
"""From here on a number rounds to infinity as float32."""
_INFINITY = float("inf")


class _Mistyped:
    """Stands for a value that is not of its field's type."""


_BAD = _Mistyped()


@dataclass(frozen=True)
class Violation:
    """One broken promise of an event; the message repeats no personal value."""

    code: str
    field: str | None
    message: str


def _string(value: Any) -> Any:
    if type(value) is not str:
        return _BAD
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return _BAD
    return value


def _integer(value: Any) -> Any:
    return value if type(value) is int and -_I64 <= value < _I64 else _BAD


def _number(value: Any) -> Any:
    if type(value) is float:
        return value
    if type(value) is not int:
        return _BAD
    try:
        return float(value)
    except OverflowError:
        return _INFINITY if value > 0 else -_INFINITY


def _boolean(value: Any) -> Any:
    return value if type(value) is bool else _BAD


def _timestamp(value: Any) -> Any:
    found = timestamp_us(value) if type(value) is str else None
    return _BAD if found is None else found


def _date(value: Any) -> Any:
    found = day_number(value) if type(value) is str else None
    return _BAD if found is None else found


def _object(value: Any) -> Any:
    if type(value) is not dict or _is_too_deep(value):
        return _BAD
    return json.dumps(value, separators=(",", ":"))


def _is_too_deep(value: dict[str, Any]) -> bool:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            for inner in (each.values() if type(each) is dict else each)
            if type(inner) in {dict, list}
        ]
        if not level:
            return False
    return True


def _strings(value: Any) -> Any:
    if type(value) is not list or any(item is not None and _string(item) is _BAD for item in value):
        return _BAD
    return value


def _numbers(value: Any) -> Any:
    if type(value) is not list:
        return _BAD
    typed = [None if item is None else _number(item) for item in value]
    return _BAD if any(item is _BAD for item in typed) else typed


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _string, "integer": _integer, "number": _number, "boolean": _boolean, "timestamp": _timestamp,
    "date": _date, "object": _object,
}  # fmt: skip


class EventCheck:
    """A contract compiled for one event at a time."""

    def __init__(self, contract: Contract) -> None:
        self._names = frozenset(contract.by_name)
        self._order = {each.code: place for place, each in enumerate(contract.checks)}
        self._words = {each.code: each.words for each in contract.checks}
        self._fields = tuple((field.name, field.required, _reader(field)) for field in contract.fields)
        self._value_checks = tuple(
            (field.name, check) for field in contract.fields if (check := _value_check(field)) is not None
        )
        self._rules = tuple(
            (f"rule.{rule.name}", rule.expression.evaluate, rule.expression.fields) for rule in contract.rules
        )
        self._private = {field.name for field in contract.fields if field.pii != "none"}

    def read(self, event: object) -> tuple[dict[str, Any], list[str]]:
        """Typed values of an event and the codes that its shape gives; a mistyped or absent value is left out.

        Instants become µs, days day numbers, objects JSON text.
        """
        if type(event) is not dict:
            return {}, [UNPARSEABLE]
        codes: list[str] = []
        values: dict[str, Any] = {}
        if not event.keys() <= self._names:
            codes.append(UNKNOWN_FIELD)
        for name, _, reader in self._fields:
            raw = event.get(name)
            if raw is None:
                continue
            value = reader(raw)
            if value is _BAD:
                codes.append(f"{name}.type")
            else:
                values[name] = value
        return values, codes

    def codes(self, event: object, now_ms: int) -> list[str]:
        """The reason codes of one event, in the contract's order; empty where every promise is kept."""
        values, codes = self.read(event)
        if not isinstance(event, dict):
            return codes
        mistyped = {code.removesuffix(".type") for code in codes}
        for name, required, _ in self._fields:
            if required and event.get(name) is None:
                codes.append(f"{name}.required")
        for name, check in self._value_checks:
            value = values.get(name)
            if value is not None:
                check(value, now_ms, codes)
        for code, evaluate, fields in self._rules:
            if evaluate(values) is False and mistyped.isdisjoint(fields):
                codes.append(code)
        if len(codes) > 1:
            codes.sort(key=self._order.__getitem__)
        return codes

    def __call__(self, event: dict[str, Any], now_ms: int) -> list[Violation]:
        codes = self.codes(event, now_ms)
        return [self._violation(code, event) for code in codes] if codes else []

    def _violation(self, code: str, event: object) -> Violation:
        field = code.rpartition(".")[0]
        expected = f"expected: {self._words[code]}"
        if code == UNKNOWN_FIELD and isinstance(event, dict):
            return Violation(
                code, None, f"{expected}; found {', '.join(sorted(map(repr, event.keys() - self._names)))}"
            )
        if field not in self._names or not isinstance(event, dict):
            return Violation(code, None, expected)
        if field in self._private or event.get(field) is None:
            return Violation(code, field, expected)
        return Violation(code, field, f"{expected}; found {str(event[field])[:80]!r}")


def check_event(contract: Contract, event: dict[str, Any], now_ms: int) -> list[Violation]:
    """Judge one event, known at `now_ms` (epoch ms), as `parse_json` and `judge` would."""
    return contract.event_check(event, now_ms)


def _reader(field: Field) -> Callable[[Any], Any]:
    if field.type == "array":
        return _strings if field.item_type == "string" else _numbers
    return _READERS[field.type]


def _value_check(field: Field) -> Callable[[Any, int, list[str]], None] | None:
    """All checks of a typed value in one function that appends codes."""
    name = field.name
    coded = tuple((f"{name}.{rule}", test) for rule, test in value_tests(field))
    tolerance = field.future_tolerance_ms
    future = f"{name}.future"

    def check(value: Any, now_ms: int, codes: list[str]) -> None:
        for code, test in coded:
            if test(value):
                codes.append(code)
        if tolerance is not None and value > (now_ms + tolerance) * 1000:
            codes.append(future)

    return check if coded or tolerance is not None else None


def value_tests(field: Field) -> tuple[_Test, ...]:
    """The rules on a present, typed value of a field as Python functions that are true where the rule is broken."""
    return (*_number_tests(field), *_text_tests(field))


def _number_tests(field: Field) -> Iterator[_Test]:
    if field.type == "number":
        yield "not_finite", lambda value: value - value != 0
    if field.type == "array" and field.item_type == "number":
        yield "not_finite", lambda value: any(item is not None and _infinite32(item) for item in value)
    if (low := field.minimum) is not None:
        yield "minimum", lambda value: value < low
    if (high := field.maximum) is not None:
        yield "maximum", lambda value: value > high


def _text_tests(field: Field) -> Iterator[_Test]:
    if field.compiled_pattern is not None:
        search = field.compiled_pattern.compiled.search
        yield "pattern", lambda value: search(value) is None
    if (shortest := field.min_length) is not None:
        yield "min_length", lambda value: len(value) < shortest
    if (longest := field.max_length) is not None:
        yield "max_length", lambda value: len(value) > longest
    if field.enum:
        allowed = frozenset(field.enum)
        yield "enum", lambda value: value not in allowed
    if field.refuse_luhn:
        yield "card_number", is_card_number


def _infinite32(item: float) -> bool:
    return not abs(item) < _FLOAT32_LIMIT

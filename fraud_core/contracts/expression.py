"""A node of a cross-field rule: one meaning, two executions that agree (a polars expression, a Python function).

Logic is SQL's, with three values: a comparison with an absent field is unknown, and a rule is broken only where it is
false. Types are checked when a node is made, that is when the contract is read; ValueError says what does not fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from fraud_core.contracts.times import DAY_US, day_number, timestamp_us

Value = Callable[[Mapping[str, Any]], Any]
_NUMERIC = {"integer", "number"}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Expression:
    """A node with its type and its two faces; `evaluate` takes field values (instants in µs, days as day numbers)."""

    type: str
    polars: pl.Expr
    evaluate: Value
    fields: frozenset[str] = frozenset()
    literal: str | None = None


def field(name: str, kind: str) -> Expression:
    """The value of a field."""
    column = pl.col(name)
    if kind == "number":
        return Expression(kind, column.fill_nan(None), lambda row: _not_nan(row.get(name)), frozenset({name}))
    return Expression(kind, column, lambda row: row.get(name), frozenset({name}))


def truth(value: bool) -> Expression:
    """TRUE or FALSE."""
    return Expression("boolean", pl.lit(value), lambda _row: value)


def _not_nan(value: float | None) -> float | None:
    return None if value is None or value != value else value  # noqa: PLR0124 (NaN alone differs from itself)


def number(token: str) -> Expression:
    """A number written in a rule."""
    if "." in token:
        fraction = float(token)
        return Expression("number", pl.lit(fraction), lambda _row: fraction)
    whole = int(token)
    if whole >= 1 << 63:
        raise ValueError(f"{token} is larger than any 64-bit integer")
    return Expression("integer", pl.lit(whole, pl.Int64), lambda _row: whole)


def text(text: str) -> Expression:
    """A text written in a rule."""
    return Expression("string", pl.lit(text), lambda _row: text, literal=text)


def as_day(inner: Expression) -> Expression:
    """CAST(… AS DATE)."""
    if inner.type != "timestamp":
        raise ValueError(f"only a timestamp can be CAST AS DATE, this is a {inner.type}")

    def day(row: Mapping[str, Any]) -> Any:
        instant = inner.evaluate(row)
        return None if instant is None else instant // DAY_US

    return Expression("date", inner.polars.dt.date(), day, inner.fields)


def total(operator: str, left: Expression, right: Expression) -> Expression:
    """`+` or `-` of two numbers."""
    if not {left.type, right.type} <= _NUMERIC:
        raise ValueError(f"only numbers can be added, not a {left.type} and a {right.type}")
    kind = "integer" if left.type == right.type == "integer" else "number"
    left, right = _as(kind, left), _as(kind, right)
    sign = 1 if operator == "+" else -1
    # 128 bits: two 64-bit integers never overflow, as in Python.
    a, b = (side.polars.cast(pl.Int128) if kind == "integer" else side.polars for side in (left, right))

    def added(row: Mapping[str, Any]) -> Any:
        x, y = left.evaluate(row), right.evaluate(row)
        return None if x is None or y is None else x + sign * y

    return Expression(kind, a + b if sign == 1 else a - b, added, left.fields | right.fields)


def _as(kind: str, side: Expression) -> Expression:
    """`side` as a value of `kind`: a text next to a timestamp or a date is read as one, an integer next to a number."""
    if side.type == kind:
        return side
    if kind == "number" and side.type == "integer":

        def fraction(row: Mapping[str, Any]) -> Any:
            whole = side.evaluate(row)
            return None if whole is None else float(whole)

        return Expression("number", side.polars.cast(pl.Float64), fraction, side.fields)
    if side.literal is not None and kind in {"timestamp", "date"}:
        number = timestamp_us(side.literal) if kind == "timestamp" else day_number(side.literal)
        if number is None:
            raise ValueError(f"{side.literal!r} is no {kind}")
        literal = pl.lit(number)
        typed = (
            literal.cast(pl.Datetime("us", "UTC"))
            if kind == "timestamp"
            else literal.cast(pl.Int32).cast(pl.Date)
        )
        return Expression(kind, typed, lambda _row: number)
    raise ValueError(f"a {side.type} cannot be compared with a {kind}")


def comparison(operator: str, left: Expression, right: Expression) -> Expression:
    """`=`, `<>`, `<`, `<=`, `>` or `>=` of two values of one type; unknown where either is absent."""
    if left.type != right.type:
        if {left.type, right.type} == _NUMERIC:
            left, right = _as("number", left), _as("number", right)
        elif left.literal is not None:
            left = _as(right.type, left)
        else:
            right = _as(left.type, right)
    if left.type == "boolean" and operator not in {"=", "<>"}:
        raise ValueError("true and false have no order")
    compare = _COMPARE[operator]

    def compared(row: Mapping[str, Any]) -> bool | None:
        x, y = left.evaluate(row), right.evaluate(row)
        return None if x is None or y is None else compare(x, y)

    return Expression("boolean", compare(left.polars, right.polars), compared, left.fields | right.fields)


def null_test(side: Expression, negated: bool) -> Expression:
    """IS NULL, or IS NOT NULL."""
    return Expression(
        "boolean",
        side.polars.is_not_null() if negated else side.polars.is_null(),
        lambda row: (side.evaluate(row) is None) is not negated,
        side.fields,
    )


def negation(side: Expression) -> Expression:
    """NOT."""
    if side.type != "boolean":
        raise ValueError(f"NOT needs true or false, not a {side.type}")

    def negated(row: Mapping[str, Any]) -> bool | None:
        truth = side.evaluate(row)
        return None if truth is None else not truth

    return Expression("boolean", ~side.polars, negated, side.fields)


def logic(left: Expression, right: Expression, *, or_: bool) -> Expression:
    """AND, or OR."""
    if left.type != "boolean" or right.type != "boolean":
        raise ValueError(f"{'OR' if or_ else 'AND'} joins tests, not a {left.type} and a {right.type}")

    def joined(row: Mapping[str, Any]) -> bool | None:
        x: bool | None = left.evaluate(row)
        if x is or_:
            return or_
        y: bool | None = right.evaluate(row)
        if y is or_:
            return or_
        return None if x is None or y is None else not or_

    polars = left.polars | right.polars if or_ else left.polars & right.polars
    return Expression("boolean", polars, joined, left.fields | right.fields)

"""Cross-field rules: one small SQL expression, two executions that agree (a polars expression, a Python function).

    or      := and {OR and}                    and := not {AND not}              not := [NOT] test
    test    := sum [= | <> | < | <= | > | >= sum | IS [NOT] NULL | [NOT] IN (literal, …) | [NOT] BETWEEN sum AND sum]
    sum     := atom {+ | - atom}               atom := number | 'text' | TRUE | FALSE | field | CAST(field AS DATE) | (or)

Logic is SQL's, with three values: a comparison with an absent field is unknown, and a rule is broken only where it is
false. Every comparison is checked for types when the contract is read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from fraud_core.contracts.times import DAY_US, day_number, timestamp_us

Value = Callable[[Mapping[str, Any]], Any]
_TOKEN = re.compile(
    r"\s*(?:([0-9]+(?:\.[0-9]+)?)|('(?:[^']|'')*')|([A-Za-z_][A-Za-z0-9_]*)|(<>|!=|<=|>=|[=<>+\-(),]))"
)
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


def parse_rule(text: str, types: Mapping[str, str]) -> Expression:
    """Parse a rule over fields of `types` (name to logical type). Raises ValueError that says what is wrong."""
    parser = _Parser(_tokens(text), types)
    rule = parser.either()
    if parser.peek() is not None:
        raise ValueError(f"{parser.peek()!r} was not expected there")
    if rule.type != "boolean":
        raise ValueError(f"a rule must be true or false, this one is a {rule.type}")
    return rule


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"{text[position : position + 10]!r} is not understood")
        found.append(match.group().strip())
        position = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[str], types: Mapping[str, str]) -> None:
        self.tokens, self.types, self.at = tokens, types, 0

    def peek(self) -> str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, *words: str) -> str | None:
        token = self.peek()
        if token is not None and token.upper() in words:
            self.at += 1
            return token.upper()
        return None

    def need(self, word: str) -> None:
        if not self.take(word):
            raise ValueError(f"{word!r} was expected before {self.peek() or 'the end'!r}")

    def either(self) -> Expression:
        left = self.both()
        while self.take("OR"):
            left = _logic(left, self.both(), or_=True)
        return left

    def both(self) -> Expression:
        left = self.negation()
        while self.take("AND"):
            left = _logic(left, self.negation(), or_=False)
        return left

    def negation(self) -> Expression:
        if self.take("NOT"):
            return _not(self.negation())
        return self.test()

    def test(self) -> Expression:
        left = self.sum()
        if operator := self.take("=", "<>", "!=", "<", "<=", ">", ">="):
            return _comparison(operator.replace("!=", "<>"), left, self.sum())
        if self.take("IS"):
            negated = self.take("NOT") is not None
            self.need("NULL")
            return _is_null(left, negated)
        negated = self.take("NOT") is not None
        if self.take("IN"):
            self.need("(")
            found = _comparison("=", left, self.sum())
            while self.take(","):
                found = _logic(found, _comparison("=", left, self.sum()), or_=True)
            self.need(")")
        elif self.take("BETWEEN"):
            low = _comparison(">=", left, self.sum())
            self.need("AND")
            found = _logic(low, _comparison("<=", left, self.sum()), or_=False)
        elif negated:
            raise ValueError("IN or BETWEEN was expected after NOT")
        else:
            return left
        return _not(found) if negated else found

    def sum(self) -> Expression:
        left = self.atom()
        while operator := self.take("+", "-"):
            left = _sum(operator, left, self.atom())
        return left

    def atom(self) -> Expression:
        token = self.peek()
        if token is None:
            raise ValueError("the expression ends too early")
        self.at += 1
        word = token.upper()
        if token == "(":  # noqa: S105 (a parenthesis)
            inner = self.either()
            self.need(")")
            return inner
        if word == "CAST":
            self.need("(")
            inner = self.sum()
            for expected in ("AS", "DATE", ")"):
                self.need(expected)
            return _as_day(inner)
        if token == "-":  # noqa: S105 (a sign)
            return _sum("-", _number("0"), self.atom())
        if token[0].isdigit():
            return _number(token)
        if token[0] == "'":
            return _text(token[1:-1].replace("''", "'"))
        if word in {"TRUE", "FALSE"}:
            truth = word == "TRUE"
            return Expression("boolean", pl.lit(truth), lambda _row: truth)
        return self.field(token)

    def field(self, name: str) -> Expression:
        kind = self.types.get(name)
        if kind is None:
            from fraud_core.contracts.document import nearest

            raise ValueError(f"{name!r} is no field of this contract{nearest(name, list(self.types))}")
        if kind in {"array", "object"}:
            raise ValueError(f"{name!r} is an {kind}; rules compare single values")
        column = pl.col(name)
        if kind == "number":
            return Expression(
                kind, column.fill_nan(None), lambda row: _not_nan(row.get(name)), frozenset({name})
            )
        return Expression(kind, column, lambda row: row.get(name), frozenset({name}))


def _not_nan(value: float | None) -> float | None:
    return None if value is None or value != value else value  # noqa: PLR0124 (NaN alone differs from itself)


def _number(token: str) -> Expression:
    if "." in token:
        fraction = float(token)
        return Expression("number", pl.lit(fraction), lambda _row: fraction)
    whole = int(token)
    if whole >= 1 << 63:
        raise ValueError(f"{token} is larger than any 64-bit integer")
    return Expression("integer", pl.lit(whole, pl.Int64), lambda _row: whole)


def _text(text: str) -> Expression:
    return Expression("string", pl.lit(text), lambda _row: text, literal=text)


def _as_day(inner: Expression) -> Expression:
    if inner.type != "timestamp":
        raise ValueError(f"only a timestamp can be CAST AS DATE, this is a {inner.type}")

    def day(row: Mapping[str, Any]) -> Any:
        instant = inner.evaluate(row)
        return None if instant is None else instant // DAY_US

    return Expression("date", inner.polars.dt.date(), day, inner.fields)


def _sum(operator: str, left: Expression, right: Expression) -> Expression:
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


def _comparison(operator: str, left: Expression, right: Expression) -> Expression:
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


def _is_null(side: Expression, negated: bool) -> Expression:
    return Expression(
        "boolean",
        side.polars.is_not_null() if negated else side.polars.is_null(),
        lambda row: (side.evaluate(row) is None) is not negated,
        side.fields,
    )


def _not(side: Expression) -> Expression:
    if side.type != "boolean":
        raise ValueError(f"NOT needs true or false, not a {side.type}")

    def negated(row: Mapping[str, Any]) -> bool | None:
        truth = side.evaluate(row)
        return None if truth is None else not truth

    return Expression("boolean", ~side.polars, negated, side.fields)


def _logic(left: Expression, right: Expression, *, or_: bool) -> Expression:
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

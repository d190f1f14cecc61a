"""Cross-field rules as contracts write them: a small part of SQL, parsed into expressions.

or      := and {OR and}                    and := not {AND not}              not := [NOT] test
test    := sum [= | <> | < | <= | > | >= sum | IS [NOT] NULL | [NOT] IN (literal, …) | [NOT] BETWEEN sum AND sum]
sum     := atom {+ | - atom}               atom := number | 'text' | TRUE | FALSE | field | CAST(field AS DATE) | (or)
"""

import re
from collections.abc import Mapping

from fraud_core.contracts.document import nearest
from fraud_core.contracts.expression import (
    Expression,
    as_day,
    comparison,
    field,
    logic,
    negation,
    null_test,
    number,
    text,
    total,
    truth,
)

_TOKEN = re.compile(
    r"\s*(?:([0-9]+(?:\.[0-9]+)?)|('(?:[^']|'')*')|([A-Za-z_][A-Za-z0-9_]*)|(<>|!=|<=|>=|[=<>+\-(),]))"
)


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
            left = logic(left, self.both(), or_=True)
        return left

    def both(self) -> Expression:
        left = self.negation()
        while self.take("AND"):
            left = logic(left, self.negation(), or_=False)
        return left

    def negation(self) -> Expression:
        if self.take("NOT"):
            return negation(self.negation())
        return self.test()

    def test(self) -> Expression:
        left = self.sum()
        if operator := self.take("=", "<>", "!=", "<", "<=", ">", ">="):
            return comparison(operator.replace("!=", "<>"), left, self.sum())
        if self.take("IS"):
            negated = self.take("NOT") is not None
            self.need("NULL")
            return null_test(left, negated)
        negated = self.take("NOT") is not None
        if self.take("IN"):
            self.need("(")
            found = comparison("=", left, self.sum())
            while self.take(","):
                found = logic(found, comparison("=", left, self.sum()), or_=True)
            self.need(")")
        elif self.take("BETWEEN"):
            low = comparison(">=", left, self.sum())
            self.need("AND")
            found = logic(low, comparison("<=", left, self.sum()), or_=False)
        elif negated:
            raise ValueError("IN or BETWEEN was expected after NOT")
        else:
            return left
        return negation(found) if negated else found

    def sum(self) -> Expression:
        left = self.atom()
        while operator := self.take("+", "-"):
            left = total(operator, left, self.atom())
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
            return as_day(inner)
        if token == "-":  # noqa: S105 (a sign)
            return total("-", number("0"), self.atom())
        if token[0].isdigit():
            return number(token)
        if token[0] == "'":
            return text(token[1:-1].replace("''", "'"))
        if word in {"TRUE", "FALSE"}:
            return truth(word == "TRUE")
        return self.field(token)

    def field(self, name: str) -> Expression:
        kind = self.types.get(name)
        if kind is None:
            raise ValueError(f"{name!r} is no field of this contract{nearest(name, list(self.types))}")
        if kind in {"array", "object"}:
            raise ValueError(f"{name!r} is an {kind}; rules compare single values")
        return field(name, kind)

"""Every promise of a contract as a check: a reason code, the words for people, and a polars expression that is true
where the promise is broken (null counts as kept).

Types and unknown fields are found while reading bytes, uniqueness by ingestion across batches: those checks have no
expression. The order of the checks is the order in which reasons are given.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from fraud_core.contracts.luhn import looks_like_card_number
from fraud_core.contracts.model import Contract, Field
from fraud_core.contracts.scanner import DEEPEST
from fraud_core.contracts.times import day_text, timestamp_text

KNOWN_MS = "_known_ms"
UNPARSEABLE = "row.unparseable"
UNKNOWN_FRAMING = "row.unknown_framing"
UNREADABLE = (UNKNOWN_FRAMING, UNPARSEABLE)
"""Found alone: of what cannot be read nothing else can be said."""
REPEATED_FIELD = "row.repeated_field"
UNKNOWN_FIELD = "row.unknown_field"

_Promise = tuple[str, str, pl.Expr | None]
"""Rule, words, and the expression that is true where it is broken."""

_TYPE_WORDS = {
    "string": "is a text",
    "integer": "is a whole number of at most 64 bits",
    "number": "is a number",
    "boolean": "is true or false",
    "timestamp": "is an instant in UTC such as 2026-09-01T12:34:56.789Z",
    "date": "is a day such as 2026-09-01",
    "object": f"is an object of at most {DEEPEST} levels",
}


@dataclass(frozen=True)
class Check:
    """One promise: `violated` is true for a row that breaks it, None where no expression can tell."""

    code: str
    field: str | None
    rule: str
    words: str
    violated: pl.Expr | None = None


def checks_of(contract: Contract) -> tuple[Check, ...]:
    """All checks of a contract, in the order of its reasons."""
    return (*_row_checks(), *(each for field in contract.fields for each in _field_checks(contract, field)), *(
        Check(f"rule.{rule.name}", None, "rule", rule.description, ~rule.expression.polars) for rule in contract.rules
    ))  # fmt: skip


def _row_checks() -> Iterator[Check]:
    yield Check(
        UNKNOWN_FRAMING, None, "unknown_framing", "The entry is written in a framing that this version knows"
    )
    yield Check(UNPARSEABLE, None, "unparseable", "The event is one JSON object in UTF-8")
    yield Check(REPEATED_FIELD, None, "repeated_field", "No field is given twice")
    yield Check(UNKNOWN_FIELD, None, "unknown_field", "Every field is known to the contract")


def _field_checks(contract: Contract, field: Field) -> Iterator[Check]:
    typed = f"is a list of {field.item_type}s" if field.type == "array" else _TYPE_WORDS[field.type]
    promises: list[_Promise] = [("type", typed, None)]
    if field.required:
        promises.append(("required", "is given", pl.col(field.name).is_null()))
    promises += [
        *_number_promises(field),
        *_text_promises(field),
        *_bound_promises(field),
        *_special_promises(field),
    ]
    if contract.key[0] == field.name:
        words = f"is not used again for another event (key: {', '.join(contract.key)})"
        promises.append(("duplicate_other_body", words, None))
    for rule, words, violated in promises:
        yield Check(f"{field.name}.{rule}", field.name, rule, f"{field.name} {words}", violated)


def _number_promises(field: Field) -> Iterator[_Promise]:
    column = pl.col(field.name)
    if field.type == "number":
        yield "not_finite", "is finite", ~column.is_finite()
    if field.type == "array" and field.item_type == "number":
        finite = column.list.eval(pl.element().is_finite()).list.all()
        yield "not_finite", "holds finite float32 numbers", ~finite


def _text_promises(field: Field) -> Iterator[_Promise]:
    column, length = pl.col(field.name), pl.col(field.name).str.len_chars()
    if field.compiled_pattern is not None:
        yield "pattern", f"matches {field.pattern}", ~column.str.contains(field.compiled_pattern.rust)
    if field.min_length is not None:
        yield "min_length", f"has at least {field.min_length} characters", length < field.min_length
    if field.max_length is not None:
        yield "max_length", f"has at most {field.max_length} characters", length > field.max_length
    if field.enum:
        listed = pl.Series(field.enum, dtype=field.dtype)
        yield "enum", f"is one of {_enumeration(field)}", ~column.is_in(listed.implode())


def _bound_promises(field: Field) -> Iterator[_Promise]:
    if field.minimum is not None:
        yield "minimum", f"is at least {bound_text(field, field.minimum)}", _ordered(field) < field.minimum
    if field.maximum is not None:
        yield "maximum", f"is at most {bound_text(field, field.maximum)}", _ordered(field) > field.maximum


def _special_promises(field: Field) -> Iterator[_Promise]:
    column = pl.col(field.name)
    if field.refuse_luhn:
        words = "is no number that passes the Luhn check, as card numbers do"
        yield "card_number", words, column.map_batches(looks_like_card_number, return_dtype=pl.Boolean())
    if field.future_tolerance_ms is not None:
        words = f"lies at most {field.future_tolerance_ms / 1000:g} s ahead of the event's arrival"
        latest = (pl.col(KNOWN_MS) + field.future_tolerance_ms) * 1000
        yield "future", words, column.cast(pl.Int64) > latest


def _ordered(field: Field) -> pl.Expr:
    """The column in the unit of its bounds: µs for timestamps, days for dates. NaN is beyond no bound, only not finite."""
    column = pl.col(field.name)
    if field.type == "timestamp":
        return column.cast(pl.Int64)
    if field.type == "date":
        return column.cast(pl.Int32)
    return column.fill_nan(None) if field.type == "number" else column


def bound_text(field: Field, bound: float) -> str:
    """A bound as the contract writes it."""
    if field.type == "timestamp":
        return timestamp_text(int(bound))
    if field.type == "date":
        return day_text(int(bound))
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _enumeration(field: Field) -> str:
    shown = ", ".join(map(str, field.enum[:8]))
    return shown if len(field.enum) <= 8 else f"{shown}, … ({len(field.enum)} values)"

"""A contract as a Great Expectations suite, and rows as the suite sees them.

Personal values never reach Great Expectations: their columns are masked, and the rules on them become columns of true and
false, computed by the contract's Python face (the hot path's is polars). Rules that GX has no expectation for, such as those
across fields, are given to it in the same way.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from fraud_core.contracts import Contract, Field, day_text, mask, timestamp_text
from fraud_core.contracts.event import value_tests

KNOWN_AT = "known_at"
KEEPS = " keeps "
"""Between a column and a rule in the name of a column of true and false; no field's name holds a blank."""


@dataclass(frozen=True)
class Promise:
    """One expectation: its reason code, GX's type and arguments, and the derived column it looks at, if any."""

    code: str
    type: str
    arguments: dict[str, Any]
    derive: Callable[[pl.DataFrame], pl.Series] | None = None


def promises(contract: Contract) -> list[Promise]:
    """The suite of a contract: every rule that can be judged on typed rows, under its reason code."""
    found = [each for field in contract.fields for each in _of_field(field)]
    for rule in contract.rules:
        evaluate, names = rule.expression.evaluate, sorted(rule.expression.fields)
        found.append(_derived(f"rule.{rule.name}", names, evaluate))
    if len(contract.key) == 1:
        code = f"{contract.key[0]}.duplicate_other_body"
        found.append(Promise(code, "ExpectColumnValuesToBeUnique", {"column": contract.key[0]}))
    return found


def _of_field(field: Field) -> Iterator[Promise]:
    column = {"column": field.name}
    if field.required:
        yield Promise(f"{field.name}.required", "ExpectColumnValuesToNotBeNull", column)
    plain = set() if field.pii != "none" else set(_native(field))
    for rule, arguments in _native(field).items():
        if rule in plain:
            yield Promise(f"{field.name}.{rule}", _GX_TYPE[rule], {**column, **arguments})
    for rule, test in value_tests(field):
        if rule not in plain and field.type not in {"array", "object"}:
            yield _derived(f"{field.name}.{rule}", [field.name], _kept(field.name, test))
    if field.future_tolerance_ms is not None:
        yield _future(field, field.future_tolerance_ms)


_GX_TYPE = {
    "pattern": "ExpectColumnValuesToMatchRegex",
    "min_length": "ExpectColumnValueLengthsToBeBetween",
    "max_length": "ExpectColumnValueLengthsToBeBetween",
    "enum": "ExpectColumnValuesToBeInSet",
    "minimum": "ExpectColumnValuesToBeBetween",
    "maximum": "ExpectColumnValuesToBeBetween",
}


def _native(field: Field) -> dict[str, dict[str, Any]]:
    """The rules that GX has an expectation of its own for, with its arguments."""
    rules: dict[str, dict[str, Any]] = {}
    if field.compiled_pattern is not None:
        rules["pattern"] = {"regex": field.compiled_pattern.python}
    if field.min_length is not None:
        rules["min_length"] = {"min_value": field.min_length}
    if field.max_length is not None:
        rules["max_length"] = {"max_value": field.max_length}
    if field.enum:
        rules["enum"] = {"value_set": list(field.enum)}
    for name, argument in (("minimum", "min_value"), ("maximum", "max_value")):
        bound = getattr(field, name)
        if bound is not None:
            rules[name] = {argument: _bound(field, bound)}
    return rules


def _bound(field: Field, bound: float) -> Any:
    if field.type == "timestamp":
        return timestamp_text(int(bound)).removesuffix("Z")
    return f"{day_text(int(bound))}T00:00:00" if field.type == "date" else bound


def _kept(name: str, test: Callable[[Any], bool]) -> Callable[[Any], bool | None]:
    def kept(row: dict[str, Any]) -> bool | None:
        value = row[name]
        return None if value is None else not test(value)

    return kept


def _derived(code: str, names: list[str], evaluate: Callable[[Any], bool | None]) -> Promise:
    column = f"{names[0] if len(names) == 1 else 'row'}{KEEPS}{code}"

    def derive(rows: pl.DataFrame) -> pl.Series:
        typed = rows.select(_plain(rows, name) for name in names)
        if len(names) == 1:
            known = {value: evaluate({names[0]: value}) for value in typed.to_series().unique().to_list()}
            return pl.Series(
                column, [known[value] for value in typed.to_series().to_list()], dtype=pl.Boolean
            )
        return pl.Series(column, [evaluate(row) for row in typed.iter_rows(named=True)], dtype=pl.Boolean)

    return Promise(code, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": [True]}, derive)


def _plain(rows: pl.DataFrame, name: str) -> pl.Expr:
    """A column as the contract's Python face takes it: instants in µs, days as day numbers."""
    dtype = rows.schema[name]
    if isinstance(dtype, pl.Datetime):
        return pl.col(name).cast(pl.Int64)
    return pl.col(name).cast(pl.Int32) if dtype == pl.Date else pl.col(name)


def _future(field: Field, tolerance_ms: int) -> Promise:
    column = f"{field.name} seconds ahead"

    def derive(rows: pl.DataFrame) -> pl.Series:
        if KNOWN_AT not in rows.columns:
            return pl.repeat(None, rows.height, dtype=pl.Float64, eager=True).alias(column)
        ahead = (pl.col(field.name) - pl.col(KNOWN_AT)).dt.total_microseconds() / 1_000_000
        return rows.select(ahead.alias(column)).to_series()

    arguments = {"column": column, "max_value": tolerance_ms / 1000}
    return Promise(f"{field.name}.future", "ExpectColumnValuesToBeBetween", arguments, derive)


def as_pandas(contract: Contract, suite: list[Promise], rows: pl.DataFrame) -> Any:
    """A pandas frame of the rows as GX sees them: derived columns beside masked ones."""
    import pandas as pd  # type: ignore[import-untyped]  # pandas carries no types

    derived = [each.derive(rows) for each in suite if each.derive is not None]
    frame = mask(contract, rows.select(each.name for each in contract.fields)).with_columns(derived)
    return pd.DataFrame({column.name: _values(column) for column in frame})


def _values(column: pl.Series) -> Any:
    """A column for pandas without Arrow in between; lists and objects only say whether they are there."""
    if isinstance(column.dtype, pl.List):
        return [None if there else "…" for there in column.is_null()]
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.replace_time_zone(None).to_numpy()
    if column.dtype == pl.Date:  # as instants: GX cannot compare days with a text
        return column.cast(pl.Datetime("us")).to_numpy()
    if column.dtype.is_numeric():
        return column.to_numpy()
    import pandas as pd

    return pd.Series(column.to_list(), dtype=object)

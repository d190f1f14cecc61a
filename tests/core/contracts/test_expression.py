"""Cross-field rules mean the same to polars and to Python, with SQL's three values."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.contracts.rule_parser import parse_rule

TYPES = {
    "a": "integer",
    "b": "integer",
    "x": "number",
    "s": "string",
    "t": "timestamp",
    "d": "date",
    "f": "boolean",
}
DTYPES = {
    "a": pl.Int64(), "b": pl.Int64(), "x": pl.Float64(), "s": pl.String(), "t": pl.Datetime("us", "UTC"), "d": pl.Date(),
    "f": pl.Boolean(),
}  # fmt: skip
ROWS = st.fixed_dictionaries({
    "a": st.none() | st.integers(-3, 3) | st.integers(-(1 << 63), (1 << 63) - 1),
    "b": st.none() | st.integers(-3, 3),
    "x": st.none() | st.floats(-3, 3) | st.just(float("nan")) | st.just(float("inf")),
    "s": st.none() | st.sampled_from(["", "p", "q", "é"]),
    "t": st.none() | st.integers(-86_400_000_001, 86_400_000_001),
    "d": st.none() | st.integers(-2, 2),
    "f": st.none() | st.booleans(),
})  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "a >= b", "a + b <> 2", "a - b < x", "x <= 1.5", "- b = a", "s = 'p' OR f = TRUE", "NOT (s IN ('p', 'q') AND a > 0)",
        "s NOT IN ('p')", "a BETWEEN -1 AND b", "a NOT BETWEEN 0 AND 1", "t IS NULL AND d IS NOT NULL", "d <= CAST(t AS DATE)",
        "t < '1970-01-01T12:00:00Z'", "'1970-01-02' > d", "f", "NOT f OR a IS NULL", "s > 'p'", "a = x",
    ],
)  # fmt: skip
def test_both_executions_agree(text: str) -> None:
    rule = parse_rule(text, TYPES)

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.lists(ROWS, min_size=1, max_size=20))
    def agree(rows: list[dict[str, Any]]) -> None:
        columns = []
        for name, dtype in DTYPES.items():
            raw = {"t": pl.Int64(), "d": pl.Int32()}.get(name, dtype)
            columns.append(pl.Series(name, [row[name] for row in rows], dtype=raw).cast(dtype))
        assert pl.DataFrame(columns).select(rule.polars.alias("rule"))["rule"].to_list() == [
            rule.evaluate(row) for row in rows
        ]

    agree()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a >= s", "cannot be compared"),
        ("a >=", "too early"),
        ("c = 1", "'c' is no field"),
        ("a", "must be true or false"),
        ("a = 1 b", "was not expected"),
        ("s + 1 = 2", "only numbers"),
        ("f > TRUE", "no order"),
        ("t = 'noon'", "no timestamp"),
        ("CAST(a AS DATE) = d", "timestamp"),
        ("a ; DROP", "not understood"),
        ("a = 99999999999999999999", "64-bit"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_rule(text, TYPES)

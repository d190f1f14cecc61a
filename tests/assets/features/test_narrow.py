"""An event's integers survive their narrow columns."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.features.narrow import coded, narrowed, told, widened
from fraud_core.features.inputs import Frame
from fraud_core.features.plan import Input, InputKind

KINDS = {
    InputKind.HASH: Input(InputKind.HASH, "v"),
    InputKind.ENUM: Input(InputKind.ENUM, "v", categories=("a", "b")),
    InputKind.CELL: Input(InputKind.CELL, "v"),
    InputKind.DIGITS: Input(InputKind.DIGITS, "v"),
    InputKind.BUCKET: Input(InputKind.BUCKET, "v", 97.0),
}


@pytest.mark.parametrize("kind", list(KINDS), ids=lambda kind: kind.name.lower())
@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.none() | st.sampled_from(["a", "b", "0", "12"]) | st.text(max_size=5), min_size=1))
def test_integers_come_back_as_they_went(kind: InputKind, values: list[str | None]) -> None:
    source = KINDS[kind]
    integers = Frame(pl.DataFrame({"v": pl.Series(values, dtype=pl.String)})).column(source)
    assert widened(source, narrowed(source, integers)).tolist() == integers.tolist()


def test_coded_texts_sort_and_compare_as_texts_and_come_back() -> None:
    rows = pl.DataFrame(
        {"_stream": ["b", "a", "c", None], "_incarnation": ["z", "y", "z", "x"], "n": range(4)}
    )
    found = coded(rows)
    assert told(found).equals(rows)
    for name in ("_stream", "_incarnation"):
        assert found.sort(name, maintain_order=True)["n"].equals(rows.sort(name, maintain_order=True)["n"])
    assert found.filter(pl.col("_stream") == "a")["n"].to_list() == [1]
    assert found.filter(pl.col("_stream") == "never met").is_empty()

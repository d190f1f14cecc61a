"""Two rows have one hash if and only if their values are the same, whatever pieces the columns lie in."""

import dataclasses
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.contracts import Contract, body_hash, load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS

CONTRACT = load_contracts(PACKAGED_CONTRACTS).transactions
TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (pl.String, st.text(max_size=40) | st.sampled_from(["", "a" * 12, "a" * 13, "a" * 16, "a" * 17, "a" * 33])),
    "whole": (pl.Int64, st.sampled_from([0, 1, -1, -(1 << 63), (1 << 63) - 1, 1 << 31])),
    "small": (pl.Int32, st.sampled_from([0, 1, -1, -(1 << 31)])),
    "real": (pl.Float64, st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf"), -1.5])),
    "flag": (pl.Boolean, st.booleans()),
    "day": (pl.Date, st.dates()),
    "time": (pl.Datetime("us", "UTC"), st.integers(-(1 << 40), 1 << 40)),
    "list": (pl.List(pl.String), st.lists(st.sampled_from(["", "x", "yy"]), max_size=3)),
}  # fmt: skip
ROWS = st.lists(
    st.tuples(*(st.none() | values for _, values in TYPES.values())), min_size=1, max_size=8
).flatmap(lambda rows: st.tuples(st.just(rows), st.lists(st.sampled_from(rows), max_size=8)))


@pytest.fixture(scope="module")
def contract() -> Contract:
    field = CONTRACT.by_name["transaction_id"]
    fields = tuple(dataclasses.replace(field, name=name) for name in TYPES)
    return dataclasses.replace(CONTRACT, fields=fields, rules=())


@settings(deadline=None, max_examples=60)  # the first call compiles
@given(drawn=ROWS, cut=st.integers(0, 8))
def test_rows_are_equal_where_their_hashes_are(
    contract: Contract, drawn: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]], cut: int
) -> None:
    first, again = drawn
    frame = pl.DataFrame(
        [*first, *again], schema={name: dtype for name, (dtype, _) in TYPES.items()}, orient="row"
    )
    same = frame.with_columns(pl.col("real") + 0.0).select(pl.struct(pl.all()).rank("dense").alias("row"))[
        "row"
    ]
    hashes = body_hash(contract, frame)
    assert hashes.rank("dense").n_unique() == same.n_unique()
    assert pl.DataFrame([same, hashes]).n_unique() == same.n_unique()
    pieces = pl.concat([frame[:cut], frame[cut:]], rechunk=False)
    assert body_hash(contract, pieces).equals(hashes)
    assert body_hash(contract, frame[cut:]).equals(hashes[cut:])


@pytest.mark.parametrize("name", ["whole", "real", "text"])
def test_changing_one_bit_anywhere_changes_the_hash(contract: Contract, name: str) -> None:
    only = dataclasses.replace(contract, fields=tuple(each for each in contract.fields if each.name == name))
    words = [0, *(1 << bit for bit in range(63))]
    if name == "text":
        column = pl.Series(
            name, ["x" * at + "y" + "x" * (40 - at) for at in range(40)] + ["x" * n for n in range(64)]
        )
    else:
        column = pl.Series(name, words, dtype=pl.Int64)
        column = column.reinterpret(signed=True) if name == "whole" else (column + 1).cast(pl.Float64).sqrt()
    assert body_hash(only, column.to_frame()).n_unique() == column.n_unique()

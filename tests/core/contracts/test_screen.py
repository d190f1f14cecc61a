"""The screen suspects every row that breaks a promise about its texts, and no verdict changes by it."""

import dataclasses
import sys
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.contracts import Contract, judge, load_contracts
from fraud_core.contracts.model import Field
from fraud_core.contracts.screen import screens_of, suspects
from fraud_core.settings import PACKAGED_CONTRACTS

ONE_CLASS = ("^[A-Za-z0-9_-]{8,64}$", "^[0-9a-f]+$", "^[0-9]{4}$", "^[0-9 -]{2,}$", "^[a-z]*$", r"^[\d_]+$")
OTHERS = ("^[a-z]+_[0-9]+$", "[a-z]+", "^[^a]+$", "^(?:[a-z]+|x)$", "^[a-z]+")
values = st.one_of(
    st.none(),
    st.text(max_size=80),
    st.text("0123456789 -", max_size=24),
    st.text("abcdef0123456789_-", max_size=70),
    st.from_regex(r"[A-Za-z0-9_-]{1,66}\n?", fullmatch=True),
    st.sampled_from(["4111111111111111", "4111 1111 1111 1111", "é" * 9, "", "\n"]),
)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contracts(PACKAGED_CONTRACTS).transactions


def text_field(contract: Contract, pattern: str, **changes: object) -> Contract:
    field: Field = dataclasses.replace(contract.by_name["transaction_id"], pattern=pattern, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(contract, fields=(field,), rules=())


@pytest.mark.parametrize("pattern", ONE_CLASS)
@settings(deadline=None, max_examples=40)  # the first call compiles
@given(
    texts=st.lists(values, max_size=30),
    promises=st.fixed_dictionaries(
        {"min_length": st.integers(0, 9), "max_length": st.integers(9, 70), "refuse_luhn": st.booleans()}
    ),
)
def test_every_row_that_breaks_a_promise_is_suspected(
    contract: Contract, pattern: str, texts: Sequence[str | None], promises: dict[str, object]
) -> None:
    mine = text_field(contract, pattern, **promises)
    (screen,) = screens_of(mine)
    whole = pl.Series("transaction_id", texts, dtype=pl.String)
    pieces = pl.concat([whole[:7], whole[7:]], rechunk=False)
    for column in (whole, pieces, pl.concat([whole, whole])[len(whole) :]):
        rows = column.to_frame()
        broken = rows.select(
            pl.any_horizontal(
                each.violated
                for each in mine.checks
                if each.violated is not None and each.code in screen.codes
            ).fill_null(False)
        ).to_series()
        found = suspects((screen,), rows)
        assert not (broken.to_numpy() & ~found).any()
        clean = [text is not None and text.isascii() and len(text) < 12 for text in texts]
        assert not (~broken.to_numpy() & found & np.array(clean, dtype=np.bool_)).any(), "suspects too much"


@pytest.mark.parametrize("pattern", OTHERS)
def test_other_patterns_are_left_to_the_exact_check(contract: Contract, pattern: str) -> None:
    assert screens_of(text_field(contract, pattern)) == ()


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.none() | st.sampled_from(["EUR", "eur", "EU", "EURO", "", "x" * 12, "x" * 13, "\0", "é"]) | st.text(max_size=14)),
    allowed=st.sets(st.sampled_from(["EUR", "EU", "", "x" * 12, "\0", "é"]), min_size=1),
)  # fmt: skip
def test_of_few_choices_exactly_the_others_are_suspected(
    contract: Contract, texts: list[str | None], allowed: set[str]
) -> None:
    mine = text_field(contract, "", enum=tuple(sorted(allowed)), min_length=None, max_length=None)
    (screen,) = screens_of(mine)
    whole = pl.Series("transaction_id", texts, dtype=pl.String)
    for column in (whole, pl.concat([whole[:3], whole[3:]], rechunk=False), whole[2:]):
        expected = [text is not None and text not in allowed for text in column.to_list()]
        assert suspects((screen,), column.to_frame()).tolist() == expected
    assert screen.codes <= {each.code for each in mine.checks}
    assert screens_of(text_field(contract, "", enum=("x" * 13,))) == ()


@settings(deadline=None, max_examples=8)
@given(texts=st.lists(st.tuples(values, values, values), min_size=1, max_size=20))
def test_a_screened_batch_gets_the_verdict_of_one_that_is_not(
    contract: Contract, texts: list[tuple[str | None, str | None, str | None]]
) -> None:
    columns = pl.DataFrame(
        texts, schema=dict.fromkeys(("transaction_id", "card_id", "ip_hash"), pl.String), orient="row"
    )
    rows = pl.DataFrame(
        [
            columns[name] if name in columns.columns else pl.Series(name, [None] * len(texts), dtype=dtype)
            for name, dtype in contract.polars_schema().items()
        ]
    )
    many = pl.concat([rows] * (4_096 // len(texts) + 1))
    alone = judge(contract, rows, [0] * len(texts)).reasons
    together = judge(contract, many, np.zeros(many.height, dtype=np.int64)).reasons
    assert together == {
        row: alone[row % len(texts)] for row in range(many.height) if row % len(texts) in alone
    }
    assert "fraud_core.contracts.screen_pass" in sys.modules

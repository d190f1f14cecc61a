"""A pattern means the same to both engines, or is refused."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.contracts.pattern import portable

PATTERNS = [
    r"^\d{4}$",
    r"^[\w-]+$",
    r"a|b$",
    r"^(?:ab?)+c{1,2}$",
    r"^.$",
    r"[^a-c]",
    r"^\.\-\[$",
    r"^$",
    "é",
    r"[.$^]",
]


@pytest.mark.parametrize("source", PATTERNS)
def test_both_engines_match_the_same_texts(source: str) -> None:
    pattern = portable(source)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.lists(st.text(alphabet="ab1c.-[$^\n\u0661é_ \x00", max_size=6), min_size=1, max_size=20))
    def agree(texts: list[str]) -> None:
        polars = pl.Series(texts).str.contains(pattern.rust).to_list()
        assert polars == [pattern.compiled.search(text) is not None for text in texts]

    agree()


@pytest.mark.parametrize(
    "source",
    [
        r"(?=a)",
        r"(?i)a",
        r"\bword",
        r"\s",
        r"a++",
        r"[[:alpha:]]",
        r"[a&&b]",
        r"(a)\1",
        "[]a]",
        "a{2,1}",
        "(",
        "\\",
    ],
)
def test_what_the_engines_read_differently_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        portable(source)

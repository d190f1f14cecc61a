"""A logged decision carries its payment: one entry that becomes a row of `decisions` and one of `transactions`.

The decision is judged by its own contract and the payment within by that of transactions (its reasons are prefixed with
`event.`); both rows are kept or neither.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.contracts import Contracts, Parsed, judge, parse_json

PREFIX = "event."
NOT_WHOLE = "seqs.whole_numbers"
OTHER_ID = "event.other_id"


def inner_events(contracts: Contracts, decisions: pl.DataFrame) -> Parsed:
    """The payments within decisions, row by row."""
    payloads = decisions["event"].fill_null("{}").cast(pl.Binary).to_list()
    return parse_json(contracts.transactions, payloads)


def inner_violations(
    contracts: Contracts, decisions: pl.DataFrame, inner: Parsed, known_ms: NDArray[np.int64]
) -> Mapping[int, tuple[str, ...]]:
    """What is wrong with the payments, and between them and their decisions, by row."""
    reasons: dict[int, tuple[str, ...]] = {
        row: tuple(PREFIX + code for code in codes)
        for row, codes in judge(contracts.transactions, inner.frame, known_ms, inner.found).reasons.items()
    }
    other = (
        decisions[contracts.decisions.event_id] != inner.frame[contracts.transactions.event_id]
    ).fill_null(False)
    _add(reasons, other, OTHER_ID)
    _, broken = sequence_columns(contracts, decisions)
    _add(reasons, broken, NOT_WHOLE)
    return reasons


def sequence_columns(contracts: Contracts, decisions: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """`_epoch` and `_seq_<entity>` of each decision, and where a seq is no whole number."""
    texts = decisions.select(
        pl.col("seqs").str.json_path_match(f"$['{entity}']").alias(f"_seq_{entity}")
        for entity in contracts.transactions.entities
    )
    numbers = texts.select(pl.all().cast(pl.Int64, strict=False))
    broken = pl.Series(np.zeros(decisions.height, dtype=np.bool_))
    for name in texts.columns:
        broken |= texts[name].is_not_null() & numbers[name].is_null()
    return numbers.with_columns(decisions["epoch"].alias("_epoch")), broken


def _add(reasons: dict[int, tuple[str, ...]], where: pl.Series, code: str) -> None:
    for row in where.arg_true().to_list():
        reasons[row] = (*reasons.get(row, ()), code)

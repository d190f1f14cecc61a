"""Gaps in seq are counted, whole sequences are not."""

from pathlib import Path

import polars as pl

from fraud_assets.ingestion.sequence import unlogged_updates
from fraud_assets.lake import Lake
from fraud_core.contracts import load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS

CONTRACT = load_contracts(PACKAGED_CONTRACTS).transactions


def _lake(tmp_path: Path, rows: list[tuple[int | None, str, int | None]]) -> Lake:
    """Transactions that hold nothing but (epoch, account, seq of the account)."""
    lake = Lake(str(tmp_path))
    columns = {field: pl.String() for field in CONTRACT.entities.values()}
    schema: dict[str, pl.DataType] = {
        **columns,
        "_epoch": pl.Int64(),
        **{f"_seq_{entity}": pl.Int64() for entity in CONTRACT.entities},
    }
    frame = pl.DataFrame(
        [{"_epoch": epoch, "account_id": account, "_seq_account": seq} for epoch, account, seq in rows],
        schema=schema,
    )
    lake.append(lake.create("transactions", schema), frame)
    return lake


def test_whole_sequences_have_no_gap_whatever_their_order_and_epoch(tmp_path: Path) -> None:
    rows = [(1, "a", 4), (1, "a", 3), (1, "a", 5), (2, "a", 1), (2, "a", 2), (1, "b", 9), (None, "a", None)]
    assert unlogged_updates(_lake(tmp_path, rows), CONTRACT) == {}


def test_what_is_missing_between_logged_updates_is_counted_per_entity_kind(tmp_path: Path) -> None:
    rows = [(1, "a", 1), (1, "a", 4), (1, "b", 7), (1, "b", 9)]
    assert unlogged_updates(_lake(tmp_path, rows), CONTRACT) == {"account": 3}

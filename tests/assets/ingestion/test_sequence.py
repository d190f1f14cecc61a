"""Gaps in seq are counted, whole sequences are not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.ingestion import sequence
from fraud_assets.ingestion.sequence import unlogged_updates
from fraud_assets.lake import Lake
from fraud_core.contracts import load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS

START = datetime(2026, 9, 1, tzinfo=UTC)
CONTRACT = load_contracts(PACKAGED_CONTRACTS).transactions


HORIZON = {"account": timedelta(days=10)}


def _lake(
    tmp_path: Path, rows: list[tuple[int | None, str, int | None]], days: list[float] | None = None
) -> Lake:
    """Transactions that hold nothing but (epoch, account, seq of the account), and when they became known."""
    lake = Lake(str(tmp_path))
    columns = {field: pl.String() for field in CONTRACT.entities.values()}
    schema: dict[str, pl.DataType] = {
        **columns,
        "known_at": pl.Datetime("us", "UTC"),
        "_epoch": pl.Int64(),
        **{f"_seq_{entity}": pl.Int64() for entity in CONTRACT.entities},
    }
    frame = pl.DataFrame(
        [
            {
                "_epoch": epoch,
                "account_id": account,
                "_seq_account": seq,
                "known_at": START + timedelta(days=day),
            }
            for (epoch, account, seq), day in zip(rows, days or [0.0] * len(rows), strict=True)
        ],
        schema=schema,
    )
    lake.append(lake.create("transactions", schema), frame)
    return lake


def test_whole_sequences_have_no_gap_whatever_their_order_and_epoch(tmp_path: Path) -> None:
    rows = [(1, "a", 4), (1, "a", 3), (1, "a", 5), (2, "a", 1), (2, "a", 2), (1, "b", 9), (None, "a", None)]
    assert unlogged_updates(_lake(tmp_path, rows), CONTRACT, HORIZON) == {}


def test_what_is_missing_between_logged_updates_is_counted_per_entity_kind(tmp_path: Path) -> None:
    rows = [(1, "a", 1), (1, "a", 4), (1, "b", 7), (1, "b", 9)]
    assert unlogged_updates(_lake(tmp_path, rows), CONTRACT, HORIZON) == {"account": 3}


def test_a_sequence_that_starts_again_after_its_state_expired_has_no_gap(tmp_path: Path) -> None:
    rows = [(1, "a", 5), (1, "a", 6), (1, "a", 1), (1, "a", 2)]
    assert unlogged_updates(_lake(tmp_path, rows, [0, 1, 13, 14]), CONTRACT, HORIZON) == {}
    many = [(1, "a", seq) for seq in (3, 1, 2, 1)]
    assert unlogged_updates(_lake(tmp_path / "many", many, [0, 12, 13, 30]), CONTRACT, HORIZON) == {}


def test_a_gap_is_found_across_a_pause_and_within_a_later_life(tmp_path: Path) -> None:
    paused = [(1, "a", 5), (1, "a", 9)]
    assert unlogged_updates(_lake(tmp_path / "paused", paused, [0, 8]), CONTRACT, HORIZON) == {"account": 3}
    later = [(1, "a", 5), (1, "a", 1), (1, "a", 4)]
    assert unlogged_updates(_lake(tmp_path / "later", later, [0, 13, 14]), CONTRACT, HORIZON) == {
        "account": 2
    }


def test_gaps_are_the_same_however_many_pieces_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(1, f"a{account}", seq) for account in range(9) for seq in (1, 2, 4)]
    lake = _lake(tmp_path, rows)
    assert unlogged_updates(lake, CONTRACT, HORIZON) == {"account": 9}
    monkeypatch.setattr(sequence, "_PIECE", 4)
    assert unlogged_updates(lake, CONTRACT, HORIZON) == {"account": 9}

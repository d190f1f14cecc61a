"""The proof must fail when there is something to find."""

from collections.abc import Callable

import polars as pl
import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.ingestion.ledger import breaks
from fraud_assets.ingestion.proof import StreamProof
from fraud_assets.ingestion.verify import _StreamCheck
from fraud_assets.lake import Lake
from fraud_core.log import Log, json_entry
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey
ON_EVERY_STORE = True
MakeEvent = Callable[..., bytes]


@pytest.fixture
def ingested(settings: Settings, log: Log, event: MakeEvent) -> Settings:
    payloads = [event(1), event(2), event(3), event(2), event(4, amount=-1)]
    log.append("transactions", [json_entry(payload) for payload in payloads])
    run_ingest(settings)
    assert verify(settings).ok
    return settings


def test_a_row_that_vanished_is_counted_as_lost(ingested: Settings, lake: Lake) -> None:
    lake.table("transactions").delete("transaction_id = 'tx-00000002'")
    proof = verify(ingested)
    assert (proof.lost, proof.duplicated) == (1, 0)
    assert "transactions lacks 1 rows" in proof.problems[0]


def test_a_row_that_stands_twice_is_counted_as_doubled(ingested: Settings, lake: Lake) -> None:
    rows = lake.scan("transactions").collect()
    lake.append(lake.table("transactions"), rows.head(1))
    proof = verify(ingested)
    assert (proof.lost, proof.duplicated) == (0, 1)


def test_a_row_in_quarantine_and_in_the_main_table_is_counted_as_doubled(
    ingested: Settings, lake: Lake
) -> None:
    held = lake.scan("quarantine_transactions").collect().row(0, named=True)
    rows = lake.scan("transactions").head(1).collect()
    moved = rows.with_columns(pl.lit(held["_offset"]).alias("_offset"))
    lake.append(lake.table("transactions"), moved)
    proof = verify(ingested)
    assert proof.duplicated >= 1
    assert any("in quarantine" in problem for problem in proof.problems)


def test_ingestion_that_trims_the_log_while_tables_are_read_raises_no_alarm(
    ingested: Settings, log: Log, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(10, 1_000))
    read_tables = _StreamCheck.prove

    def overtaken(check: _StreamCheck, ledger: pl.DataFrame) -> StreamProof:
        for _ in range(2):  # of the entries that were pending, the second run leaves none in the log
            log.append("transactions", [json_entry(event(next(numbers)))])
            run_ingest(ingested)
        return read_tables(check, ledger)

    monkeypatch.setattr(_StreamCheck, "prove", overtaken)
    log.append("transactions", [json_entry(event(5))])
    proof = verify(ingested)
    assert proof.problems == []
    assert proof.ok


def test_a_row_missing_in_quarantine_is_counted_as_lost(ingested: Settings, lake: Lake) -> None:
    lake.table("quarantine_transactions").delete("kind = 'duplicate'")
    assert verify(ingested).lost == 1


def test_ranges_of_the_ledger_that_do_not_join_are_named() -> None:
    ranges = pl.DataFrame(
        {
            "stream": ["t"] * 3,
            "shard": [0] * 3,
            "incarnation": ["x"] * 3,
            "start": [0, 5, 8],
            "end": [5, 9, 12],
        }
    )
    assert breaks(ranges) == ["t/0 (x): an overlap between 9 and 8"]
    assert breaks(ranges.with_columns(pl.Series("start", [0, 6, 9]))) == ["t/0 (x): a gap between 5 and 6"]

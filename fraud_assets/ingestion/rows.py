"""The rows that each table gets from a judged batch."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_assets.ingestion.decisions import sequence_columns
from fraud_assets.ingestion.reading import Batch
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.ingestion.verdicts import Verdicts
from fraud_assets.lake.schemas import TRANSACTIONS, UTC_MICROSECONDS
from fraud_core.contracts import Contract, Contracts
from fraud_core.errors import ContractError


def main_rows(contracts: Contracts, table: str, batch: Batch, verdicts: Verdicts) -> pl.DataFrame:
    """The valid events as rows of `table`."""
    if batch.inner is not None and table == TRANSACTIONS:
        contract, rows = contracts.transactions, batch.inner.frame
        sequences, _ = sequence_columns(contracts, batch.rows)
        extra = sequences.get_columns()
    else:
        contract, rows = contracts.for_stream(table), batch.rows
        extra = []
        if table == TRANSACTIONS:
            names = ["_epoch", *(f"_seq_{entity}" for entity in contract.entities)]
            extra = [pl.Series(name, [None], dtype=pl.Int64).new_from_index(0, len(batch)) for name in names]
    framed = rows.with_columns(
        pl.col(contract.event_time).dt.date().alias("event_date"),
        *_origin(batch, np.arange(len(batch))),
        _replay_of(batch, np.arange(len(batch))),
        *extra,
    )
    return framed if verdicts.valid.all() else framed.filter(pl.Series(verdicts.valid))


def quarantine_rows(
    contract: Contract, batch: Batch, verdicts: Verdicts, seal: Seal, judged_at: datetime | None = None
) -> pl.DataFrame:
    """The violations with their bytes (sealed when a key is set) and the duplicates without."""
    bad = np.array(sorted(verdicts.violations), dtype=np.int64)
    rows = np.concatenate([bad, verdicts.duplicates])
    count, duplicates = len(rows), len(verdicts.duplicates)
    payloads: list[bytes | None] = [
        *seal.close([batch.payload(row) for row in bad.tolist()]),
        *[None] * duplicates,
    ]
    reasons = [list(verdicts.violations[row]) for row in bad.tolist()] + [[] for _ in range(duplicates)]
    return pl.DataFrame(
        [
            *_origin(batch, rows),
            _replay_of(batch, rows),
            pl.Series("appended_at", batch.append_ms[rows] * 1000).cast(UTC_MICROSECONDS),
            pl.Series("kind", ["violation"] * len(bad) + ["duplicate"] * duplicates, dtype=pl.String),
            batch.rows[contract.event_id].gather(rows).alias("event_id"),
            pl.Series("reasons", reasons, dtype=pl.List(pl.String)),
            pl.Series("payload", payloads, dtype=pl.Binary),
            pl.Series("contract_version", [contract.version] * count, dtype=pl.String),
            pl.Series("judged_at", [judged_at or datetime.now(UTC)] * count, dtype=UTC_MICROSECONDS),
        ]
    ).with_columns(pl.col("known_at").dt.date().alias("quarantine_date"))


def _replay_of(batch: Batch, rows: NDArray[np.int64]) -> pl.Series:
    if not batch.replay_of:
        return pl.Series("_replay_of", [None], dtype=pl.String).new_from_index(0, len(rows))
    return pl.Series("_replay_of", [batch.replay_of.get(row) for row in rows.tolist()], dtype=pl.String)


def check_readable(contract: Contract, batch: Batch, verdicts: Verdicts) -> None:
    """Refuse to finish a range in which events that were found valid can no longer be read.

    That happens only when the contract changed between two commits of one plan: null would be written for their values.
    """
    unreadable = [row for row in batch.found if verdicts.valid[row]]
    if unreadable:
        row = unreadable[0]
        raise ContractError(
            f"A range of {batch.shard} was judged before the contract {contract.name} became version {contract.version}: "
            f"{len(unreadable)} of its valid events can no longer be read ({', '.join(batch.found[row])} at offset "
            f"{batch.offsets[row]}). Ingest once with the contract as it was (SPEARHEAD_CONTRACTS), then change it. "
            "Nothing was written."
        )


def _origin(batch: Batch, rows: NDArray[np.int64]) -> list[pl.Series]:
    shard = batch.shard
    known = pl.Series("known_at", batch.known_ms[rows] * 1000).cast(UTC_MICROSECONDS)
    return [
        known,
        pl.Series("_stream", [shard.stream]).new_from_index(0, len(rows)),
        pl.Series("_shard", [shard.number], dtype=pl.Int32).new_from_index(0, len(rows)),
        pl.Series("_incarnation", [shard.incarnation]).new_from_index(0, len(rows)),
        pl.Series("_offset", batch.offsets[rows]),
        pl.Series("_index", batch.indexes[rows]),
    ]

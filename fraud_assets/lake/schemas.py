"""The tables that ingestion writes and their columns, all derived from the contracts.

Every row carries its origin (stream, shard, life of the log, offset, index in block): its identity, which no other row
shares. A log that was wiped and filled again counts its offsets anew (Kafka's begin at 0), hence the life.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import polars as pl

from fraud_core.contracts import Contracts
from fraud_core.log import Shard

UTC_MICROSECONDS: Final = pl.Datetime("us", "UTC")
ORIGIN: Final[dict[str, pl.DataType]] = {
    "_stream": pl.String(),
    "_shard": pl.Int32(),
    "_incarnation": pl.String(),
    "_offset": pl.Int64(),
    "_index": pl.Int32(),
}
LEDGER: Final = "ledger"
DECISIONS: Final = "decisions"
TRANSACTIONS: Final = "transactions"
STREAMS: Final = (TRANSACTIONS, "labels", DECISIONS)

_QUARANTINE: Final[dict[str, pl.DataType]] = {
    **ORIGIN,
    "known_at": UTC_MICROSECONDS,
    "kind": pl.String(),
    "event_id": pl.String(),
    "reasons": pl.List(pl.String()),
    "payload": pl.Binary(),
    "contract_version": pl.String(),
    "judged_at": UTC_MICROSECONDS,
    "quarantine_date": pl.Date(),
    "_replay_of": pl.String(),
    "appended_at": UTC_MICROSECONDS,
}
_LEDGER: Final[dict[str, pl.DataType]] = {
    "stream": pl.String(),
    "shard": pl.Int32(),
    "incarnation": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "entries": pl.Int64(),
    "events": pl.Int64(),
    "valid": pl.Int64(),
    "duplicates": pl.Int64(),
    "violations": pl.Int64(),
    "contract_version": pl.String(),
    "first_append_at": UTC_MICROSECONDS,
    "last_append_at": UTC_MICROSECONDS,
    "committed_at": UTC_MICROSECONDS,
    "first_event_at": UTC_MICROSECONDS,
    "last_event_at": UTC_MICROSECONDS,
    "plans": pl.Int64(),
}


def quarantine_schema() -> dict[str, pl.DataType]:
    """Columns of a quarantine."""
    return dict(_QUARANTINE)


def rows_of(shard: Shard) -> pl.Expr:
    """The rows of a main table or quarantine that came from a shard in this life of the log."""
    return (
        (pl.col("_stream") == shard.stream)
        & (pl.col("_shard") == shard.number)
        & (pl.col("_incarnation") == shard.incarnation)
    )


@dataclass(frozen=True)
class TableSpec:
    """A table to create: name, columns, partitions."""

    name: str
    schema: dict[str, pl.DataType]
    partition_by: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    """Columns whose bounds are kept per file; the origin must be among them, wide contracts or not."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Columns that tell its rows apart."""
        return tuple(column for column in ORIGIN if column in self.schema)


def quarantine_of(stream: str) -> str:
    """Name of a stream's quarantine."""
    return f"quarantine_{stream}"


def tables_of(stream: str) -> tuple[str, ...]:
    """The tables that a plan of `stream` commits to, in the order of commits; the ledger comes after them."""
    mains = (TRANSACTIONS, DECISIONS) if stream == DECISIONS else (stream,)
    return (quarantine_of(stream), *mains)


def stream_tables(contracts: Contracts, streams: Iterable[str]) -> tuple[TableSpec, ...]:
    """All tables that ingesting `streams` needs, the ledger among them."""
    names = {table for stream in streams for table in tables_of(stream)}
    specs = [TableSpec(LEDGER, dict(_LEDGER))]
    for name in sorted(names):
        if name.startswith("quarantine_"):
            specs.append(TableSpec(name, quarantine_schema(), ("quarantine_date",), (*ORIGIN, "_replay_of")))
        else:
            contract = contracts.for_stream(name)
            bounds = (*ORIGIN, "_replay_of", "known_at", contract.event_id, contract.event_time)
            specs.append(TableSpec(name, main_schema(contracts, name), ("event_date",), bounds))
    return tuple(specs)


def main_schema(contracts: Contracts, table: str) -> dict[str, pl.DataType]:
    """Columns of `transactions`, `labels` or `decisions`: the contract's, then when known, then the origin."""
    schema = dict(contracts.for_stream(table).polars_schema())
    schema |= {"event_date": pl.Date(), "known_at": UTC_MICROSECONDS, **ORIGIN, "_replay_of": pl.String()}
    if table == TRANSACTIONS:
        schema |= {
            "_epoch": pl.Int64(),
            **{f"_seq_{name}": pl.Int64() for name in contracts.transactions.entities},
        }
    return schema

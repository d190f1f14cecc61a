"""The lake: Delta tables on a path or in an object store. No Dagster here; the tiers' frameworks stand at the rim."""

from fraud_assets.lake.labels import read_history, read_labels
from fraud_assets.lake.lake import Lake, open_lake
from fraud_assets.lake.schemas import (
    DECISIONS,
    LEDGER,
    ORIGIN,
    STREAMS,
    TableSpec,
    quarantine_of,
    rows_of,
    stream_tables,
    tables_of,
)
from fraud_assets.lake.transactions import read_transactions
from fraud_assets.lake.upkeep import Upkeep, compact

__all__ = [
    "DECISIONS",
    "LEDGER",
    "ORIGIN",
    "STREAMS",
    "Lake",
    "TableSpec",
    "Upkeep",
    "compact",
    "open_lake",
    "quarantine_of",
    "read_history",
    "read_labels",
    "read_transactions",
    "rows_of",
    "stream_tables",
    "tables_of",
]

"""What is true of the events that a producer sent: which were fraud, which were faulty, and what must become of them."""

import hashlib
from pathlib import Path
from typing import Any

import polars as pl

from fraud_core.simulator.history import Chunk

SCHEMA = {
    "transaction_id": pl.String,
    "scenario": pl.String,
    "fault": pl.String,
    "verdict": pl.String,
    "reason": pl.String,
    "payload_sha256": pl.String,
    "sent_ms": pl.Int64,
}


class GroundTruth:
    """Collects one row per fraud and per faulty event; honest, faultless events have none.

    `verdict` is what ingestion must say: valid, duplicate or violation (then `reason` is its code).
    """

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []

    def add(self, chunk: Chunk) -> None:
        """Take note of a chunk."""
        frauds = chunk.transactions.filter(pl.col("_scenario").is_not_null()).select(
            "transaction_id",
            pl.col("_scenario").alias("scenario"),
            pl.lit(None, dtype=pl.String).alias("fault"),
            pl.lit("valid").alias("verdict"),
            pl.lit(None, dtype=pl.String).alias("reason"),
            pl.lit(None, dtype=pl.String).alias("payload_sha256"),
            pl.col("_virtual_ms").alias("sent_ms"),
        )
        faulty: list[tuple[Any, ...]] = [
            (
                fault.event_id,
                None,
                fault.kind,
                fault.verdict,
                fault.reason or None,
                hashlib.sha256(fault.payload).hexdigest(),
                fault.known_ms,
            )
            for fault in chunk.faults
        ]
        self._parts += [frauds, pl.DataFrame(faulty, schema=SCHEMA, orient="row")]

    def frame(self) -> pl.DataFrame:
        """All rows so far."""
        return pl.concat(self._parts) if self._parts else pl.DataFrame(schema=SCHEMA)

    def save(self, path: Path) -> None:
        """Write the rows as parquet."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frame().write_parquet(path)

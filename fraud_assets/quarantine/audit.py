"""Who did what to which quarantined event, when and why: a table of its own, to which rows are only ever added.

It also holds the state of a row: the last thing done to it. Whoever is about to act writes that down first, and only if
nobody else has written since the states were read; so two people cannot act on one state of affairs. Acts are counted by the
table's own version, and stand in that order: clocks may differ and go back.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import polars as pl

from fraud_assets.lake import ORIGIN, Lake
from fraud_assets.lake.schemas import UTC_MICROSECONDS
from fraud_core.errors import CommitRefused, SettingsError

AUDIT: Final = "quarantine_audit"
IDENTITY: Final = tuple(ORIGIN)

INTENDED, APPENDED, DISCARDED, SHOWN = "intended", "appended", "discarded", "shown"
OPEN, REPLAYED = "open", "replayed"

SCHEMA: Final[dict[str, pl.DataType]] = {
    "at": UTC_MICROSECONDS,
    "actor": pl.String(),
    "action": pl.String(),
    "outcome": pl.String(),
    "because": pl.String(),
    "request": pl.String(),
    **ORIGIN,
    "replay_of": pl.String(),
    "mapping_hash": pl.String(),
    "mapping": pl.String(),
    "contract_version": pl.String(),
    "new_shard": pl.Int32(),
    "new_incarnation": pl.String(),
    "new_offset": pl.Int64(),
    "number": pl.Int64(),
}
_PATIENCE_S: Final = 30.0


@dataclass(frozen=True)
class Act:
    """What one command does, whatever the number of events."""

    actor: str
    action: str
    because: str = ""
    mapping_hash: str = ""
    mapping: str = ""
    contract_version: str = ""
    request: str = ""

    @classmethod
    def by(cls, actor: str, action: str, because: str = "", **more: str) -> "Act":
        """An act of a person. Raises SettingsError without a name: an audit without names is none."""
        if not actor.strip():
            raise SettingsError(
                "The name of who does this was expected (--actor NAME); it goes into the audit. None was given."
            )
        return cls(actor.strip(), action, because.strip(), request=uuid4().hex[:12], **more)


class Audit:
    """The audit table of a lake, created on first use."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._version = 0

    def rows(self) -> pl.DataFrame:
        """Everything that was ever done, oldest first."""
        if not self._lake.exists(AUDIT):
            return pl.DataFrame(schema=SCHEMA)
        return _in_order(_numbered(self._lake.scan(AUDIT)).collect())

    def states(self) -> pl.DataFrame:
        """The state of every row that anything was done to: its identity, `state`, and the last act on it.

        An act that was intended and never concluded leaves a row open, with `last` saying so.
        """
        if not self._lake.exists(AUDIT):
            self._version = 0
            return states_of(pl.DataFrame(schema=SCHEMA))
        table = self._lake.table(AUDIT)
        self._version = self._lake.committed(table, AUDIT)
        columns = (*IDENTITY, "number", "at", "actor", "outcome", "because", "mapping_hash")
        acts = _numbered(self._lake.scan(table)).filter(pl.col("outcome") != SHOWN)
        return states_of(acts.select(columns).collect())

    def intend(self, act: Act, outcome: str, rows: pl.DataFrame) -> None:
        """Record what is about to be done to `rows` (identity and `replay_of`), or what was done by recording it.

        Raises CommitRefused when somebody else has acted since `states` was read: read them again.
        """
        table = self._lake.create(AUDIT, SCHEMA)
        if self._lake.committed(table, AUDIT) != self._version:
            raise CommitRefused("Somebody else is at work in quarantine: its states have to be read again.")
        number = self._version + 1
        self._lake.append(table, _records(act, outcome, rows, number), {AUDIT: number})
        self._version += 1

    def conclude(self, act: Act, outcome: str, rows: pl.DataFrame) -> None:
        """Record what has been done, whatever others do meanwhile."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            table = self._lake.create(AUDIT, SCHEMA)
            version = self._lake.committed(table, AUDIT)
            try:
                self._lake.append(table, _records(act, outcome, rows, version + 1), {AUDIT: version + 1})
            except CommitRefused:
                if time.monotonic() > deadline:
                    raise
                continue
            if version == self._version:
                self._version += 1
            return


def states_of(acts: pl.DataFrame) -> pl.DataFrame:
    """One row per identity: `state`, and `last`, `by`, `last_at`, `because` of the last act on it."""
    return (
        _in_order(acts)
        .group_by(IDENTITY, maintain_order=True)
        .agg(
            pl.col("outcome").last().alias("last"),
            pl.col("actor").last().alias("by"),
            pl.col("at").last().alias("last_at"),
            pl.col("because").last(),
        )
        .with_columns(
            pl.col("last")
            .replace_strict({APPENDED: REPLAYED, DISCARDED: DISCARDED}, default=OPEN, return_dtype=pl.String)
            .alias("state")
        )
    )


def _numbered(acts: pl.LazyFrame) -> pl.LazyFrame:
    """With `number`, null where a table was begun without it."""
    held = "number" in acts.collect_schema()
    return acts if held else acts.with_columns(pl.lit(None, pl.Int64).alias("number"))


def _in_order(acts: pl.DataFrame) -> pl.DataFrame:
    return acts.sort("number", "at", nulls_last=False, maintain_order=True)


def _records(act: Act, outcome: str, rows: pl.DataFrame, number: int) -> pl.DataFrame:
    fixed = {
        "number": pl.lit(number, pl.Int64),
        "at": pl.lit(datetime.now(UTC), UTC_MICROSECONDS),
        "outcome": pl.lit(outcome),
        **{
            name: pl.lit(getattr(act, name) or None, pl.String)
            for name in (
                "actor",
                "action",
                "because",
                "request",
                "mapping_hash",
                "mapping",
                "contract_version",
            )
        },
    }
    absent = {
        name: pl.lit(None, dtype) for name, dtype in SCHEMA.items() if name not in {*fixed, *rows.columns}
    }
    return rows.with_columns(**fixed, **absent).select(
        pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()
    )

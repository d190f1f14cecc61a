"""One plan of one shard, from the log into every table, exactly once.

The order of commits is the protocol: quarantine (the verdict of record, made even when empty), the main tables, the
ledger. Each goes through the very handle on which its version was read, so a commit by anybody else in between is
refused and nothing here needs a lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

import polars as pl
from deltalake import DeltaTable

from fraud_assets.ingestion.failpoint import Failpoint
from fraud_assets.ingestion.ledger import LedgerRow, instant
from fraud_assets.ingestion.plan import Plan, next_plan
from fraud_assets.ingestion.read_ahead import ReadAhead
from fraud_assets.ingestion.reading import Batch, read_batch
from fraud_assets.ingestion.replays import earlier_copies
from fraud_assets.ingestion.rows import check_readable, main_rows, quarantine_rows
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.ingestion.uniqueness import UniquenessWindow
from fraud_assets.ingestion.verdicts import Verdicts, Violations, judge_batch, recorded_verdicts
from fraud_assets.ingestion.window import load_window
from fraud_assets.lake import LEDGER, Lake, rows_of, tables_of
from fraud_assets.lake.lake import schema_of
from fraud_core.contracts import Contracts
from fraud_core.errors import CommitRefused, LakeError, LostRange
from fraud_core.log import INGEST, Log, Shard


@dataclass(frozen=True)
class Commit:
    """What one plan brought into the lake."""

    stream: str
    shard: int
    start: int
    end: int
    entries: int
    events: int
    valid: int
    duplicates: int
    violations: int
    reasons: Mapping[str, int]
    """Violating events per reason code."""
    resumed: bool
    """Whether it finished what an interrupted run had begun."""
    first_append_at: datetime | None
    last_append_at: datetime | None
    committed_at: datetime
    versions: Mapping[str, int]
    """Delta version of each table before the commit."""

    @property
    def age_s(self) -> float:
        """Seconds from the first event's append to the commit."""
        return (self.committed_at - self.first_append_at).total_seconds() if self.first_append_at else 0.0


class ShardIngest:
    """Ingests one shard, plan after plan; holds nothing that another run could not read from the lake."""

    def __init__(
        self,
        lake: Lake,
        log: Log,
        contracts: Contracts,
        shard: Shard,
        *,
        window: int,
        seal: Seal,
        failpoint: Failpoint,
        ahead: ReadAhead | None = None,
    ) -> None:
        self.lake, self.log, self.contracts, self.shard = lake, log, contracts, shard
        self.order = (*tables_of(shard.stream), LEDGER)
        self._window_size, self._seal, self._failpoint, self._ahead = window, seal, failpoint, ahead
        self._window: UniquenessWindow | None = None
        self._window_at = -1
        """Offset up to which the window has seen; any other start loads it again."""
        self._judged_with: UniquenessWindow | None = None

    def log_end(self) -> int:
        """Offset of the last entry in the log."""
        return self.log.end(self.shard)

    def give_up(self) -> None:
        """This shard goes no further in this run: what was read ahead of it keeps no room from others."""
        if self._ahead is not None:
            self._ahead.forget(self.shard)

    def step(self, upto: int, max_events: int) -> Commit | None:
        """Commit the next plan that begins before `upto`; None when there is nothing to do.

        Raises CommitRefused when another run was first: call again. Raises LostRange when the log lost entries.
        """
        tables = self._open()
        committed = self._committed(tables)
        try:
            plan = next_plan(committed, self.order, self.log_end(), shard=str(self.shard))
            if plan is not None and not plan.judged:
                plan = None if plan.start >= upto else replace(plan, end=min(plan.end, upto))
            if plan is None:
                return None
            self._failpoint("after_plan")
            batch, alone = self._read(plan, max_events)
        except (LakeError, LostRange) as error:
            # Tables are opened one after another, and what another run has passed is trimmed: look again before alarming.
            if self._committed(self._open()) != committed:
                raise CommitRefused(f"Another run moved shard {self.shard} on; plan anew.") from error
            raise
        self._failpoint("after_read")
        if batch.end == plan.start:
            return None
        if self._ahead is not None and not plan.judged and len(batch) >= max_events:
            self._ahead.begin(self.shard, batch.end, plan.end, max_events)
        versions = {name: table.version() for name, table in tables.items()}
        verdicts = self._verdicts(plan, batch, tables, alone)
        self._failpoint("after_judge")
        row = self._write(plan, batch, verdicts, tables)
        self._keep_window(plan, batch)
        self.log.advance_reader(self.shard, INGEST, batch.end, since=batch.start, events=len(batch))
        self.log.trim(self.shard, batch.end)
        self._failpoint("after_trim")
        return Commit(
            stream=self.shard.stream,
            shard=self.shard.number,
            start=batch.start,
            end=batch.end,
            entries=batch.entries,
            events=len(batch),
            valid=row.valid,
            duplicates=row.duplicates,
            violations=row.violations,
            reasons=verdicts.counts,
            resumed=plan.judged,
            first_append_at=row.first_append_at,
            last_append_at=row.last_append_at,
            committed_at=row.committed_at,
            versions=versions,
        )

    def _read(self, plan: Plan, max_events: int) -> tuple[Batch, Violations | None]:
        """The plan's events: read and looked at while the plan before was committed, if that was a good guess, else read now."""
        if self._ahead is not None and (taken := self._ahead.take(self.shard, plan, max_events)) is not None:
            return taken
        return read_batch(self.log, self.shard, plan, self.contracts, max_events), None

    def _open(self) -> dict[str, DeltaTable]:
        """Fresh handles, opened against the order of commits: a plan that another run is at never looks out of order."""
        return {name: self.lake.table(name) for name in reversed(self.order)}

    def _committed(self, tables: Mapping[str, DeltaTable]) -> dict[str, int]:
        return {name: self.lake.committed(table, self.shard.app_id) for name, table in tables.items()}

    def _verdicts(
        self, plan: Plan, batch: Batch, tables: Mapping[str, DeltaTable], alone: Violations | None
    ) -> Verdicts:
        if plan.judged:
            self._window = None
            quarantined = self.lake.scan(tables[self.order[0]]).filter(
                rows_of(self.shard), pl.col("_offset") > plan.start, pl.col("_offset") <= plan.end
            )
            verdicts = recorded_verdicts(
                batch, quarantined.select("_offset", "_index", "kind", "reasons").collect()
            )
            check_readable(self.contracts.for_stream(self.shard.stream), batch, verdicts)
            return verdicts
        if self._window is None or self._window_at != plan.start:
            contract = self.contracts.for_stream(self.shard.stream)
            self._window = load_window(self.lake, contract, self.shard, self.order[-2], self._window_size)
        window, self._window = self._window, None  # what the plan adds is true only when it is committed
        contract = self.contracts.for_stream(self.shard.stream)
        copies = earlier_copies(self.lake, tables[self.order[-2]], contract, batch)
        verdicts = judge_batch(self.contracts, batch, window, copies, alone)
        self._judged_with = window
        return verdicts

    def _keep_window(self, plan: Plan, batch: Batch) -> None:
        if not plan.judged and self._judged_with is not None:
            self._judged_with.settle()
            self._window, self._window_at = self._judged_with, batch.end
        self._judged_with = None

    def _write(
        self, plan: Plan, batch: Batch, verdicts: Verdicts, tables: Mapping[str, DeltaTable]
    ) -> LedgerRow:
        version = {self.shard.app_id: batch.end}
        contract = self.contracts.for_stream(self.shard.stream)
        quarantine, *mains, ledger = self.order
        if quarantine in plan.pending:
            rows = quarantine_rows(contract, batch, verdicts, self._seal)
            self.lake.append(tables[quarantine], rows, version)
            self._failpoint("after_quarantine_commit")
        for name in mains:
            if name in plan.pending:
                self.lake.append(tables[name], main_rows(self.contracts, name, batch, verdicts), version)
                self._failpoint("after_main_commit" if name == mains[-1] else "between_main_commits")
        times = (int(batch.append_ms[0]), int(batch.append_ms[-1])) if len(batch) else None
        first_event_at, last_event_at = _span(batch.rows[contract.event_time], verdicts)
        row = LedgerRow(
            stream=self.shard.stream,
            shard=self.shard.number,
            incarnation=self.shard.incarnation,
            start=batch.start,
            end=batch.end,
            entries=batch.entries,
            events=len(batch),
            valid=int(verdicts.valid.sum()),
            duplicates=len(verdicts.duplicates),
            violations=len(verdicts.violations),
            contract_version=contract.version,
            first_append_at=instant(times[0]) if times else None,
            last_append_at=instant(times[1]) if times else None,
            committed_at=datetime.now(UTC),
            first_event_at=first_event_at,
            last_event_at=last_event_at,
        )
        self.lake.append(tables[ledger], row.frame(schema_of(tables[ledger])), version)
        self._failpoint("after_ledger_commit")
        return row


def _span(event_times: pl.Series, verdicts: Verdicts) -> tuple[datetime | None, datetime | None]:
    """First and last time among the valid events."""
    valid = event_times if verdicts.valid.all() else event_times.filter(pl.Series(verdicts.valid))
    return cast("datetime | None", valid.min()), cast("datetime | None", valid.max())

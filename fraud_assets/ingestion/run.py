"""The ingest run: plan after plan over the shards of some streams, until the end of the log or a deadline.

It may die anywhere and be started twice; what it holds in memory is a cache of the lake. It tells each commit to a
callback, and knows nothing of who runs it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Literal, TypeVar

from fraud_assets.ingestion.commit import Commit, ShardIngest
from fraud_assets.ingestion.failpoint import Failpoint, armed
from fraud_assets.ingestion.groups import EVERY_SHARD, ShardGroup
from fraud_assets.ingestion.read_ahead import ReadAhead
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import STREAMS, Lake, compact, open_lake, stream_tables, tables_of
from fraud_assets.lake.accepted import check_contracts, record_contracts
from fraud_assets.memory import keep_freed
from fraud_assets.quality.results import record_results
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import CommitRefused, LogUnavailable, SpearheadError
from fraud_core.log import open_log
from fraud_core.log.shards import shards_note
from fraud_core.settings import Settings

_LOG = logging.getLogger(__name__)
_MOST_REFUSALS = 50
_RESULTS_EVERY_S = 30.0
"""Between two looks for batches whose data-quality results are still to be recorded."""
_MOST_MERGED_ROWS = 4_000_000
"""What a run merges at a time, which new events wait for: the commits of a busy stream are large enough to be left to upkeep."""
_PATIENCE_S = 30.0
"""How long a run waits for a shard whose log stopped answering."""

OnCommit = Callable[[Commit], None]
_Found = TypeVar("_Found")


@dataclass
class IngestTotals:
    """What a run did."""

    commits: int = 0
    entries: int = 0
    events: int = 0
    valid: int = 0
    duplicates: int = 0
    violations: int = 0
    refused: int = 0
    """Plans that another run committed first."""
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, commit: Commit) -> None:
        """Count a commit."""
        self.commits += 1
        for name in ("entries", "events", "valid", "duplicates", "violations"):
            setattr(self, name, getattr(self, name) + getattr(commit, name))
        for code, count in commit.reasons.items():
            self.reasons[code] = self.reasons.get(code, 0) + count


def create_tables(lake: Lake, contracts: Contracts, streams: Sequence[str]) -> None:
    """Create the tables that ingesting `streams` needs, or add the columns they lack. Racing runs may both call it.

    Raises ContractError, before anything is written, when a contract breaks what the lake was written under.
    """
    mains = dict.fromkeys(name for stream in streams for name in tables_of(stream)[1:])
    fresh = check_contracts(lake, [contracts.for_stream(name) for name in mains])
    for spec in stream_tables(contracts, streams):
        lake.create(
            spec.name, spec.schema, spec.partition_by, statistics=spec.statistics, identity=spec.identity
        )
    if fresh:
        record_contracts(lake, fresh)


def run_ingest(
    settings: Settings,
    streams: Sequence[str] = STREAMS,
    *,
    until: Literal["end"] | timedelta = "end",
    plans_per_shard: int | None = None,
    on_commit: OnCommit | None = None,
    stop: Callable[[], bool] = lambda: False,
    group: ShardGroup = EVERY_SHARD,
    failpoint: Failpoint | None = None,
) -> IngestTotals:
    """Ingest `streams`, or the group's shards of them, up to the end of the log as of now, or for as long as `until` says.

    `plans_per_shard` ends it earlier (one plan is the other drive); `stop` is asked between plans. A shard that cannot
    go on does not stop the others; its SpearheadError, which says what to do, is raised at the end. Whatever happens, the
    next run goes on where this one ended.
    """
    keep_freed()
    contracts = load_contracts(settings.contracts)
    lake, log = open_lake(settings), open_log(settings)
    ahead = ReadAhead(open_log(settings), contracts) if plans_per_shard != 1 else None
    try:
        create_tables(lake, contracts, streams)
        if note := shards_note(settings, log, streams):
            _LOG.warning("%s", note)
        hit = failpoint or armed(settings.failpoint)
        seal = Seal.of(settings)
        shards = [
            ShardIngest(
                lake,
                log,
                contracts,
                shard,
                window=settings.uniqueness_window,
                seal=seal,
                failpoint=hit,
                ahead=ahead,
            )
            for shard in group.shards(log, streams)
        ]
        run = _Run(settings, shards, on_commit=on_commit, failpoint=hit)
        if until == "end":
            run.to_end(plans_per_shard, stop)
        else:
            run.for_some_time(until, plans_per_shard, stop)
        record_results(lake)
        run.raise_failures()
        return run.totals
    finally:
        if ahead is not None:
            ahead.close()
        log.close()


class _Run:
    def __init__(
        self,
        settings: Settings,
        shards: list[ShardIngest],
        *,
        on_commit: OnCommit | None,
        failpoint: Failpoint,
    ) -> None:
        self.settings, self.shards = settings, shards
        self.on_commit, self.failpoint = on_commit, failpoint
        self.totals = IngestTotals()
        self.failures: dict[ShardIngest, SpearheadError] = {}
        self.failed_at = 0.0
        self.recorded_at = time.monotonic()

    def to_end(self, plans_per_shard: int | None, stop: Callable[[], bool]) -> None:
        """Ingest what the log holds now, a plan of each shard in turn, so that a deep one keeps none waiting."""
        going: dict[ShardIngest, int] = {}
        for shard in self.shards:
            if (end := self.attempt(shard, shard.log_end)) is not None:
                going[shard] = end
        rounds = 0
        while going and not stop() and (plans_per_shard is None or rounds < plans_per_shard):
            for shard, target in list(going.items()):
                if stop():
                    return
                if self.attempt(shard, partial(self.plan, shard, target)) is None:
                    del going[shard]
            rounds += 1

    def for_some_time(
        self, duration: timedelta, plans_per_shard: int | None, stop: Callable[[], bool]
    ) -> None:
        """Ingest what comes, a plan per shard and interval, at once where a shard is behind."""
        deadline = time.monotonic() + duration.total_seconds()
        interval = self.settings.commit_interval_s
        due = dict.fromkeys(self.shards, 0.0)
        plans = dict.fromkeys(self.shards, 0)
        away_since: dict[ShardIngest, float] = {}
        while due and not stop() and time.monotonic() < deadline:
            for shard in [shard for shard, at in due.items() if time.monotonic() >= at]:
                if stop():
                    return
                began = time.monotonic()
                try:
                    commit = self.plan(shard, shard.log_end())
                except LogUnavailable as error:  # perhaps of one server of several: the other shards go on
                    _LOG.warning("%s", error)
                    due[shard] = time.monotonic() + 1.0
                    if time.monotonic() - away_since.setdefault(shard, began) > _PATIENCE_S:
                        self.give_up(shard, error)
                except SpearheadError as error:
                    self.give_up(shard, error)
                else:
                    away_since.pop(shard, None)
                    behind = commit is not None and commit.events >= self.settings.plan_max_events
                    due[shard] = began if behind else began + interval
                    plans[shard] += commit is not None
                if shard in self.failures or plans[shard] == plans_per_shard:
                    del due[shard]
            if (
                self.failures
            ):  # the run is to say so soon, and the next one to try again, not before some time
                deadline = min(deadline, self.failed_at + _PATIENCE_S)
            next_due = min(due.values(), default=deadline)
            time.sleep(max(0.0, min(next_due - time.monotonic(), 0.25, deadline - time.monotonic())))

    def attempt(self, shard: ShardIngest, step: Callable[[], _Found]) -> _Found | None:
        """What a step of a shard gives; None where it failed, which is told at the end of the run."""
        try:
            return step()
        except SpearheadError as error:
            self.give_up(shard, error)
            return None

    def give_up(self, shard: ShardIngest, error: SpearheadError) -> None:
        """This shard goes no further in this run, for a reason that is told at its end."""
        _LOG.error("%s", error)
        if not self.failures:
            self.failed_at = time.monotonic()
        self.failures[shard] = error
        shard.give_up()

    def raise_failures(self) -> None:
        """Raise what stopped a shard; of several errors, the first with the texts of all."""
        errors = list(self.failures.values())
        if errors:
            raise type(errors[0])("\n".join(dict.fromkeys(map(str, errors)))) from errors[0]

    def plan(self, shard: ShardIngest, upto: int) -> Commit | None:
        """One plan; a plan that another run committed first is planned anew."""
        for _ in range(_MOST_REFUSALS):
            try:
                commit = shard.step(upto, self.settings.plan_max_events)
            except CommitRefused as error:
                _LOG.info("%s", error)
                self.totals.refused += 1
                continue
            if commit is not None:
                self._after(shard, commit)
            return commit
        raise CommitRefused(
            f"{_MOST_REFUSALS} plans of {shard.shard} were refused in a row because another run committed first. One ingest "
            "run per shard is expected: stop the others. Nothing was lost."
        )

    def _after(self, shard: ShardIngest, commit: Commit) -> None:
        self.totals.add(commit)
        if self.on_commit is not None:
            self.on_commit(commit)
        self.failpoint("after_report")
        if time.monotonic() - self.recorded_at >= _RESULTS_EVERY_S:
            record_results(shard.lake)
            self.recorded_at = time.monotonic()
        every = self.settings.compact_every
        for name, version in commit.versions.items():
            if (version + 1) // every > version // every:
                compact(shard.lake, name, _MOST_MERGED_ROWS)
                self.failpoint("after_compaction")

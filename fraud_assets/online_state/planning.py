"""From where to where a rebuild reads: decided once, before anything is folded, so that whoever takes over goes on from it."""

import time
from datetime import UTC, datetime, timedelta

import polars as pl
from deltalake import DeltaTable

from fraud_assets.features.spill import Room
from fraud_assets.lake import Lake, read_transactions, rows_of
from fraud_assets.online_state.epochs import epoch_registry
from fraud_assets.online_state.gathering import parts_for
from fraud_assets.online_state.labels import Ends, ends_in, held_ends
from fraud_assets.online_state.plan import RebuildPlan
from fraud_assets.online_state.shelf import CUT_BY
from fraud_assets.online_state.tail import register
from fraud_core.contracts import Contracts
from fraud_core.features import OnlineState, next_epoch, up_to
from fraud_core.features.layout import GRACE_MS
from fraud_core.log import SCORER, Log
from fraud_core.settings import Settings


def make_plan(  # noqa: PLR0917
    settings: Settings,
    lake: Lake,
    log: Log,
    contracts: Contracts,
    state: OnlineState,
    replaces: int,
    reason: str,
) -> RebuildPlan:
    """Plan an epoch after `replaces`, and register as a reader of what it has not read yet."""
    # Readers are registered first and the ends read again after: what follows the second ends cannot have been trimmed.
    first = committed_ends(log, lake, lake.table("transactions"))
    _register_scorer(log, first)
    register(log, first)
    table = lake.table("transactions")
    labelled = held_ends(lake, "labels")
    goes_on = _undecided_left(settings, lake, log, table, committed_ends(log, lake, table))
    ends = _read_ends(lake, table, goes_on)
    latest = read_transactions(lake, contracts.transactions).filter(up_to(ends))
    newest = latest.select(pl.col("known_at").max()).collect(engine="streaming").item() or datetime.now(UTC)
    read_from = newest - state.features.horizon - timedelta(milliseconds=GRACE_MS)
    rows = lake.scan(table)
    count = rows.filter(pl.col("known_at") >= read_from).select(pl.len()).collect(engine="streaming").item()
    memory = Room.of(settings).memory
    return RebuildPlan(
        epoch=next_epoch(state, epoch_registry(lake)),
        replaces=replaces,
        state_hash=state.features.state_hash,
        ends=ends,
        goes_on=goes_on,
        labelled=labelled,
        read_from=read_from,
        parts=parts_for(state.features, rows.collect_schema(), count, memory),
        began_ms=time.time_ns() // 1_000_000,
        reason=reason,
        cut_by=CUT_BY,
    )


def _undecided_left(settings: Settings, lake: Lake, log: Log, table: DeltaTable, committed: Ends) -> Ends:
    """The same, but a payment that the stream scorer has still to decide is left to it: folded now, it would be passed over."""
    fresh = datetime.now(UTC) - timedelta(seconds=settings.scorer_max_age_s)
    ends = dict(committed)
    for shard in log.shards("transactions"):
        reached = log.readers(shard).get(SCORER, committed[shard])
        if reached < committed[shard]:
            waiting = rows_of(shard) & (pl.col("_offset") > reached) & (pl.col("known_at") >= fresh)
            first = lake.scan(table).filter(waiting).select(pl.col("_offset").min()).collect().item()
            ends[shard] = committed[shard] if first is None else first - 1
    return ends


def committed_ends(log: Log, lake: Lake, table: DeltaTable) -> Ends:
    """How far `transactions`, as this handle knows it, has come on each shard that feeds it; 0 on a log that is new."""
    return {
        shard: lake.committed(table, shard.app_id)
        for stream in ("transactions", "decisions")
        for shard in log.shards(stream)
    }


def _read_ends(lake: Lake, table: DeltaTable, goes_on: Ends) -> Ends:
    """Up to which offsets the table is read: `goes_on`, and all that it holds from former lives of the log."""
    return ends_in(lake.scan(table)) | goes_on


def _register_scorer(log: Log, ends: Ends) -> None:
    """Let a scorer that never ran begin where the rebuild ends. One that did keeps its place: it skips what was folded."""
    for shard in log.shards("transactions"):
        if SCORER not in log.readers(shard):
            log.advance_reader(shard, SCORER, ends[shard])

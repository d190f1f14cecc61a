"""Is the online state what a fold of the history gives? A sample of entities, or all, compared slot by slot.

The fold's state is written to a scratch namespace, each run's own, and read by the same read-only function as the live one, so
the comparison does not depend on how states lie in bytes. Under traffic the live state is read first; the history is then followed on the
log and cut at the seq that was read. What cannot be brought to the same seq is looked at again once a payment on its way must have
been logged: where the seq has moved on it is in flight; where it has not, the state holds something that no decision logged.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import polars as pl
from redis.exceptions import RedisError

from fraud_assets.features.spill import Room
from fraud_assets.lake import Lake, read_labels
from fraud_assets.online_state.build import unseen
from fraud_assets.online_state.epochs import epoch_registry
from fraud_assets.online_state.gathering import gather, parts_for
from fraud_assets.online_state.history import LiveHistory
from fraud_assets.online_state.tail import Tail
from fraud_core.contracts import Contracts
from fraud_core.features import (
    EntityFeatures,
    FeatureSet,
    OnlineState,
    state_client,
    up_to,
    write_states,
)
from fraud_core.features.calls import StateCalls
from fraud_core.features.layout import GRACE_MS, life_ms
from fraud_core.features.wire import exchange
from fraud_core.log import Log, Shard
from fraud_core.settings import Settings

SCRATCH = 0
"""The epoch of folded states. Their namespace keeps them apart from every state, and from those of another run."""
SCRATCH_LIFE_S = 600
"""Scratch keys are deleted after each comparison; where the process was killed, they expire so soon after."""
_BATCH = 500
_NAMED = 20
SETTLES = 3
"""Deadlines of a payment after which one that was being decided has been logged."""
_UNLOGGED = "a payment that no decision logged, or one of its history that was scored again and counted twice"


@dataclass
class StateProof:
    """What a comparison found."""

    epoch: int
    compared: int = 0
    differing: int = 0
    in_flight: int = 0
    """Entities that changed too fast to be compared: their live state was ahead of the log whenever it was looked at."""
    expired: int = 0
    """Entities not compared: their latest payment lies further back than a state is kept, so that either side may have dropped it."""
    differences: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing differs."""
        return not self.differing

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, **self.__dict__}


def verify_state(
    settings: Settings,
    lake: Lake,
    log: Log,
    contracts: Contracts,
    features: FeatureSet,
    *,
    sample: int = 200,
    seed: int = 1,
) -> StateProof:
    """Compare `sample` entities of each kind (0: all). Raises StateError where there is no state to compare."""
    with state_client(settings, "The online state cannot be compared") as client:
        state = OnlineState(client, features, settings.namespace)
        state.load()
        return _Verify(settings, lake, log, contracts, state).run(sample, seed)


class _Verify:
    def __init__(
        self, settings: Settings, lake: Lake, log: Log, contracts: Contracts, state: OnlineState
    ) -> None:
        self.settings, self.lake, self.log, self.contracts, self.state = settings, lake, log, contracts, state
        self.features, self.client = state.features, state.client
        self.proof = StateProof(state.epoch())
        # No number follows the namespace, so that no sweep of epochs takes these keys for a state's.
        self.scratch = StateCalls(state.features, f"{settings.namespace}:verify:{uuid4().hex}")

    def run(self, sample: int, seed: int) -> StateProof:
        """Compare, then look once more at what was in flight."""
        room = Room.of(self.settings)
        with room.folder() as folder:
            return self._run(sample, seed, *self._history(room, folder))

    def _run(self, sample: int, seed: int, history: LiveHistory, tail: Tail) -> StateProof:
        chosen = random.Random(seed)
        again: list[tuple[str, dict[str, int]]] = []
        for entity in self.features.plans:
            ids = sorted(history.ids(entity))
            mine = ids if not sample or sample >= len(ids) else chosen.sample(ids, sample)
            for start in range(0, len(mine), _BATCH):
                ahead = self._compare(history, tail, entity, mine[start : start + _BATCH])
                if ahead:
                    again.append((entity, ahead))
        if again:
            time.sleep(SETTLES * self.settings.deadline_ms / 1000)
        for entity, before in again:
            left = self._compare(history, tail, entity, list(before))
            self._judge_ahead(entity, before, left)
        return self.proof

    def _judge_ahead(self, entity: str, before: dict[str, int], now: dict[str, int]) -> None:
        """Of entities that were ahead of the log twice, those that did not change between hold what nobody logged."""
        for id, seq in now.items():
            if seq != before[id]:
                self.proof.in_flight += 1
                continue
            self.proof.compared += 1
            self._differs(entity, id, f"seq {seq} online is ahead of the fold: {_UNLOGGED}")

    def _differs(self, entity: str, id: str, words: str) -> None:
        self.proof.differing += 1
        if len(self.proof.differences) < _NAMED:
            self.proof.differences.append(f"{entity} {id}: {words}")

    def _history(self, room: Room, folder: Path) -> tuple[LiveHistory, Tail]:
        """What the current epoch knows: what its rebuild had read, and all that was logged in it since."""
        table = self.lake.table("transactions")
        decisions = {
            shard: self.lake.committed(table, shard.app_id) for shard in self.log.shards("decisions")
        }
        epochs = epoch_registry(self.lake)
        self._read_by_rebuild = up_to(cast("dict[Shard, int]", epochs.get(self.proof.epoch, {})))
        within = self._read_by_rebuild | (pl.col("_epoch") == self.proof.epoch)
        rows = self.lake.scan(table)
        self._moment = self._now(rows)
        read_from, self._late = self._counted()
        count = (
            rows.filter(pl.col("known_at") >= read_from).select(pl.len()).collect(engine="streaming").item()
        )
        parts = parts_for(self.features, rows.collect_schema(), count, room.memory)
        base = gather(
            self.lake, self.contracts, self.features, read_from, within, parts, room, folder, unseen
        )
        history = LiveHistory(self.features, base, rows.collect_schema(), epochs, SCRATCH)
        tail = Tail(self.log, self.contracts, decisions)
        self._follow(history, tail)
        return history, tail

    def _now(self, rows: pl.LazyFrame) -> datetime:
        """The present by the clock of what was ingested: for a replay, as far past its end as its state is old."""
        built, now = self.state.registered(), datetime.now(UTC)
        if not built.get("known_ms"):
            return now
        newest = rows.select(pl.col("known_at").max()).collect(engine="streaming").item()
        since = now - datetime.fromtimestamp(built["created_ms"] / 1000, UTC)
        aged = datetime.fromtimestamp(built["known_ms"] / 1000, UTC) + since
        return max(aged, newest) if newest is not None else aged

    def _counted(self) -> tuple[datetime, pl.Series]:
        """Since when the epoch counted what became known, which stays in its states' seqs when it is older than a horizon; and of
        older payments, those that were first labelled after the rebuild: they are not in any seq."""
        built, id = self.state.registered(), self.contracts.transactions.event_id
        if not built.get("read_from"):  # an epoch that began empty
            return self._moment - self.features.horizon - timedelta(milliseconds=GRACE_MS), pl.Series(
                id, [], pl.String
            )
        read_from = datetime.fromisoformat(built["read_from"])
        told = up_to({Shard.of(name): end for name, end in built["labelled"].items()})
        since = read_labels(self.lake, self.contracts, told.alias("told")).filter(
            pl.col("known_at") >= read_from
        )
        older = self.lake.scan("transactions").filter(pl.col("known_at") < read_from).select(id)
        by_payment = since.join(older, on=id, how="semi").group_by(id).agg(pl.col("told").any())
        return read_from, by_payment.filter(~pl.col("told")).collect(engine="streaming")[id]

    def _follow(self, history: LiveHistory, tail: Tail) -> None:
        while (rows := tail.read(20_000)) is not None:
            history.add(rows.filter(self._read_by_rebuild | (pl.col("_epoch") == self.proof.epoch)))

    def _compare(self, history: LiveHistory, tail: Tail, entity: str, ids: list[str]) -> dict[str, int]:
        """Compare some entities; returns those whose live state was ahead of the log, with its seq."""
        online = list(self._read(self.state.calls, self.proof.epoch, entity, ids))
        self._follow(history, tail)
        upto = {each.id: each.seq for each in online if each.seen}
        scratch = self._scratch(history, entity, upto, ids)
        ahead = {}
        kept_since_ms = self._moment.timestamp() * 1000 - life_ms(self.features.plans[entity].rule)
        for live, folded in zip(online, scratch, strict=True):
            if (live.seen or folded.seen) and max(live.clock_ms or 0, folded.clock_ms or 0) <= kept_since_ms:
                self.proof.expired += 1
                continue
            if live.seq > folded.seq and folded.seen:
                ahead[live.id] = live.seq
                continue
            self.proof.compared += 1
            if words := _difference(live, folded):
                self._differs(entity, live.id, words)
        return ahead

    def _scratch(
        self, history: LiveHistory, entity: str, upto: dict[str, int], ids: list[str]
    ) -> list[EntityFeatures]:
        states = history.touched(self.scratch.namespace, entity, set(ids), (self.proof.epoch, upto))
        items = [item._replace(life_s=SCRATCH_LIFE_S) for item in states]
        try:
            write_states(self.client, items)
            folded = list(self._read(self.scratch, SCRATCH, entity, ids))
        finally:
            exchange(self.client, [("UNLINK", item.key) for item in items])
        unequal = {each.id for each in folded if each.seen and each.seq != upto.get(each.id, each.seq)}
        if not unequal:
            return folded
        uncounted = history.uncounted(entity, unequal, (self.proof.epoch, upto), self._late)
        return [replace(each, seq=each.seq - uncounted.get(each.id, 0)) for each in folded]

    def _read(self, calls: StateCalls, epoch: int, entity: str, ids: list[str]) -> Iterator[EntityFeatures]:
        replies = exchange(self.client, [calls.read_command(epoch, entity, id, 0) for id in ids])
        for id, reply in zip(ids, replies, strict=True):
            if isinstance(reply, RedisError):
                raise reply
            yield calls.decode_read(epoch, entity, id, 0, reply)


def _difference(live: EntityFeatures, folded: EntityFeatures) -> str:
    if live.seen != folded.seen:
        return "online only" if live.seen else f"missing online, {folded.seq} payments in the fold"
    if live.seq != folded.seq:
        return f"seq {live.seq} online, {folded.seq} in the fold"
    if live.clock_ms != folded.clock_ms:
        return f"clock {live.clock_ms} online, {folded.clock_ms} in the fold"
    names = [
        f"{name} {value!r} online, {folded.values[name]!r} in the fold"
        for name, value in live.values.items()
        if value != folded.values[name]
        and not (value != value and folded.values[name] != folded.values[name])  # noqa: PLR0124 (NaN alone differs from itself)
    ]
    return "; ".join(names[:3])

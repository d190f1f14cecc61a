"""Make the online state anew from the lake, while payments are being scored.

    fold what the lake holds ▸ follow the decisions on the log ▸ let payments finish ▸ fence the old epoch ▸ drain ▸ record ▸ flip

Nothing reads the new epoch before the flip, so a rebuild may die anywhere: the next one goes on from its plan. What the new
epoch has read of each shard is recorded in the lake, because the order in which features are computed again must survive
the loss of Redis; the stream scorer goes on from those very offsets. See fraud_core.features.handover for what the fence
promises.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import polars as pl
from redis.exceptions import RedisError

from fraud_assets.ingestion.failpoint import STATE_FAILPOINTS, Failpoint, armed
from fraud_assets.lake import Lake, read_history, read_labels, read_transactions
from fraud_assets.online_state.build import OnStep, Pace, StateBuild, unseen
from fraud_assets.online_state.epochs import Handed, epoch_registry, record_epoch, record_rebuild
from fraud_assets.online_state.history import EVERYTHING, LiveHistory, Touched
from fraud_assets.online_state.labels import Ends, held_ends, remember_pushed
from fraud_assets.online_state.lease import Lease
from fraud_assets.online_state.plan import PlanStore, RebuildPlan
from fraud_assets.online_state.planning import make_plan
from fraud_assets.online_state.tail import Tail, forget
from fraud_core.contracts import Contracts
from fraud_core.errors import StateError
from fraud_core.features import (
    FeatureSet,
    OnlineState,
    Rebuilt,
    epoch_record,
    state_client,
    sweep_epochs,
    up_to,
    write_states,
)
from fraud_core.features.final_states import Item
from fraud_core.features.handover import MARGIN_MS, Fence, Handover
from fraud_core.features.server import read_facts
from fraud_core.log import Log
from fraud_core.settings import Settings

TAIL_ROWS: Final = 20_000
CAUGHT_UP_ROWS: Final = 500
"""A round of following the log that finds fewer new decisions than this is near enough to its end for the fence."""
ROUNDS: Final = 50
ATTEMPTS: Final = 5
MOST_CLOSING_S: Final = 1.0
SILENT_S: Final = 0.05
"""Longer than a payment takes from its update to its logging."""


def rebuild_state(
    settings: Settings,
    lake: Lake,
    log: Log,
    contracts: Contracts,
    features: FeatureSet,
    *,
    rate: float = 0.0,
    reason: str = "asked for",
    on_step: OnStep | None = None,
    failpoint: Failpoint | None = None,
) -> StateBuild:
    """Write a new epoch from everything known within a horizon of the latest event, then make it current.

    Scoring goes on meanwhile; while the new epoch takes over, for `state_fence_s` at most, payments wait or take the
    failure ladder. `rate`: keys written a second, 0 for as many as possible. Raises StateError when Redis cannot be
    reached, another rebuild is under way, or the fence was too short; the present epoch then stays.
    """
    with state_client(
        settings, "The rebuild stopped, the old state stands; run again, it goes on where it was"
    ) as client:
        work = _Rebuild(settings, lake, log, contracts, features, client)
        work.pace, work.on_step = Pace(rate), on_step or unseen
        work.failpoint = failpoint or armed(settings.failpoint, STATE_FAILPOINTS)
        with work.lease.held():
            work.failpoint("state_leased")
            return work.run(reason)


class _Rebuild:
    pace: Pace
    on_step: OnStep
    failpoint: Failpoint

    def __init__(  # noqa: PLR0917
        self,
        settings: Settings,
        lake: Lake,
        log: Log,
        contracts: Contracts,
        features: FeatureSet,
        client: Any,
    ) -> None:
        self.settings, self.lake, self.log = settings, lake, log
        self.contracts, self.features, self.client = contracts, features, client
        self.state = OnlineState(client, features, settings.namespace)
        self.plans = PlanStore(client, self.state.calls.epoch_key)
        self.handover = Handover(
            client,
            settings.namespace,
            self.state.calls.epoch_key,
            1 if settings.log == "kafka" else len(log.shards("decisions")),
            uuid.uuid4().hex,
        )
        self.written: dict[str, int] = dict.fromkeys(features.plans, 0)
        self.bytes = 0
        self.followed = 0
        self.lease = Lease(self.handover)

    # -- the steps

    def run(self, reason: str) -> StateBuild:
        began = time.monotonic()
        self._refuse_eviction()
        self.client.function_load(self.state.calls.library, replace=True)
        plan = self._unfinished()
        resumed = plan is not None
        if plan is not None and plan.epoch <= self._current():
            return self._finish(plan, plan.ends, None, 0, began, resumed=True)
        if plan is None:
            plan = make_plan(
                self.settings, self.lake, self.log, self.contracts, self.state, self._current(), reason
            )
            self.plans.begin(plan)
        self.failpoint("state_planned")
        history = self._read(plan)
        self._write_base(plan, history)
        self.failpoint("state_folded")
        tail = Tail(
            self.log,
            self.contracts,
            {shard: end for shard, end in plan.goes_on.items() if shard.stream == "decisions"},
        )
        self.plans.phase("follow")
        self._follow(history, tail)
        labelled = self._take_labels(plan, history)
        self._follow(history, tail)
        self.failpoint("state_followed")
        self.plans.phase("hand over")
        fence, attempts, ends = self._hand_over(plan, history, tail)
        self.failpoint("state_flipped")
        handed = Handed(fence.age_ms, attempts, self.followed, history.events)
        return self._finish(plan, ends, handed, history.newest_ms, began, resumed=resumed, labelled=labelled)

    def _refuse_eviction(self) -> None:
        if problem := read_facts(self.client).problem():
            raise StateError(problem)

    def _current(self) -> int:
        return int(self.client.get(self.state.calls.epoch_key) or 0)

    def _unfinished(self) -> RebuildPlan | None:
        """The plan that another process left, if it still holds."""
        plan = self.plans.load()
        if plan is None or plan.state_hash != self.features.state_hash:
            return None
        shards = {*self.log.shards("decisions"), *self.log.shards("transactions")}
        return plan if set(plan.goes_on) == shards and plan.epoch >= self._current() else None

    def _read(self, plan: RebuildPlan) -> LiveHistory:
        self.on_step("read the lake", 0, 1)
        events, labels = read_history(self.lake, self.contracts, plan.read_from, up_to(plan.ends))
        epochs = {**epoch_registry(self.lake), plan.epoch: EVERYTHING}
        history = LiveHistory(self.features, events, labels, epochs, plan.epoch)
        self.on_step("read the lake", 1, 1)
        return history

    def _write_base(self, plan: RebuildPlan, history: LiveHistory) -> None:
        done = self.plans.done()
        pieces = [(entity, part) for entity in self.features.plans for part in range(plan.parts)]
        for place, (entity, part) in enumerate(pieces):
            self.on_step("fold", place, len(pieces))
            if f"{entity}/{part}" not in done:
                self._write(entity, history.part(self.settings.namespace, entity, part, plan.parts))
                self.plans.part_done(f"{entity}/{part}")
                self.failpoint("state_part_written")
            self.lease.check()
        self.on_step("fold", len(pieces), len(pieces))

    def _write(self, entity: str, items: Iterator[Item]) -> None:
        states, size = write_states(self.client, items, self.pace)
        self.written[entity] += states
        self.bytes += size

    def _write_touched(self, history: LiveHistory, touched: Touched) -> None:
        for entity, ids in touched.items():
            write_states(self.client, history.touched(self.settings.namespace, entity, ids))

    def _follow(self, history: LiveHistory, tail: Tail) -> None:
        """Fold the decisions that the log holds, until few are new."""
        for turn in range(ROUNDS):
            found = self._drain(history, tail, TAIL_ROWS)
            self.on_step("follow the log", turn + 1, ROUNDS)
            self.lease.check()
            if found is None or found < CAUGHT_UP_ROWS:
                return
        raise StateError(
            f"The rebuild was expected to catch up with the log within {ROUNDS} rounds and did not: decisions come faster than it "
            "folds them. The old state stands. Run it when there is less traffic, or without --rate."
        )

    def _drain(self, history: LiveHistory, tail: Tail, limit: int) -> int | None:
        """Fold what the log holds next; how many payments that were, None at its end."""
        rows = tail.read(limit)
        if rows is None:
            return None
        self.followed += rows.height
        self._write_touched(history, history.add(rows))
        return rows.height

    def _take_labels(self, plan: RebuildPlan, history: LiveHistory) -> Ends:
        """Labels that reached the lake since it was read; returns up to where all are known now."""
        labelled = held_ends(self.lake, "labels")
        if labelled != plan.labelled:
            event_id = self.contracts.transactions.event_id
            came = self.lake.scan("labels").filter(~up_to(plan.labelled))
            ids = came.select(pl.col(self.contracts.labels.event_id).alias(event_id)).unique()
            labels = read_labels(self.lake, self.contracts).join(ids, on=event_id, how="semi").collect()
            payments = read_transactions(self.lake, self.contracts.transactions).filter(up_to(plan.ends))
            concerned = payments.join(ids, on=event_id, how="semi").collect()
            self._write_touched(history, history.add_labels(labels, concerned))
        return labelled

    def _hand_over(self, plan: RebuildPlan, history: LiveHistory, tail: Tail) -> tuple[Fence, int, Ends]:
        """Let finish, fence, drain, record, flip. Raises StateError when that takes longer than the fence may stand."""
        fence_ms = int(self.settings.state_fence_s * 1000)
        for attempt in range(1, ATTEMPTS + 1):
            self.lease.check()
            self._let_finish(plan.epoch - 1)
            fence = self.handover.fence(plan.epoch - 1, fence_ms)
            try:
                self.failpoint("state_fenced")
                self._wait_for_appends()
                # Not to its very end: without a state, decisions are appended all the time until they are held.
                while (
                    self._drain(history, tail, TAIL_ROWS) or 0
                ) >= CAUGHT_UP_ROWS and fence.age_ms < fence_ms:
                    pass
                self.handover.hold()  # from here on nothing is appended, with a state or without
                self._wait_for_appends()
                while self._drain(history, tail, TAIL_ROWS) is not None:
                    pass
                self.failpoint("state_drained")
                ends = plan.ends | tail.positions
                # Before it is current: an epoch that never comes to life does no harm in the registry, one that is missing does.
                record_epoch(self.lake, self.features, plan.epoch, ends)
                record = epoch_record(
                    self.features,
                    history.newest_ms,
                    history.events,
                    plan.goes_on | tail.positions,
                    read_facts(self.client),
                    history.entities,
                )
                self.client.hset(self.state.calls.epochs_key, str(plan.epoch), record)
                self.failpoint("state_recorded")
                if self.handover.flip(plan.epoch, fence):
                    return fence, attempt, ends
            except BaseException:
                self._lift_quietly()
                raise
            self.handover.lift()
            self._follow(history, tail)
        raise StateError(
            f"The new epoch was expected to take over within {self.settings.state_fence_s:g} s (SPEARHEAD_STATE_FENCE_S); {ATTEMPTS} "
            "attempts took longer. The old state stands. Raise it, or run the rebuild when there is less traffic."
        )

    def _let_finish(self, epoch: int) -> None:
        """Until payments that were applied to the old epoch are logged: what others saw of them must not be missing from it.

        Nobody applies anything to it any more meanwhile, so its log falls silent; at most a request's whole time is waited.
        """
        most_s = min(self.settings.deadline_ms / 1000, MOST_CLOSING_S)
        self.handover.closing(epoch, int(most_s * 1000) + MARGIN_MS)
        began = silent_since = time.monotonic()
        seen = self.handover.appended()
        while (now := time.monotonic()) - began < most_s and now - silent_since < SILENT_S:
            time.sleep(0.005)
            if (found := self.handover.appended()) != seen:
                seen, silent_since = found, time.monotonic()

    def _wait_for_appends(self) -> None:
        """Where the log is not in Redis, a decision passes its gate first and is appended then, within its deadline or not at all."""
        if self.settings.log == "kafka":
            time.sleep(self.settings.deadline_ms / 1000)

    def _lift_quietly(self) -> None:
        with suppress(RedisError):  # it ends by itself
            self.handover.lift()

    def _finish(
        self,
        plan: RebuildPlan,
        ends: Ends,
        handed: Handed | None,
        newest_ms: int,
        began: float,
        *,
        resumed: bool,
        labelled: Ends | None = None,
    ) -> StateBuild:
        """What is left once the new epoch is current; done again by whoever finds it undone."""
        self.plans.phase("sweep")
        self.handover.close(plan.epoch - 1)
        namespace = self.settings.namespace
        remember_pushed(self.client, namespace, plan.epoch, (labelled or plan.labelled) | ends)
        forget(self.log)
        self.failpoint("state_closed")
        record_rebuild(self.lake, self.features, plan, handed)
        self.on_step("sweep old epochs", 0, 1)
        dropped = sweep_epochs(self.client, namespace, keep={plan.epoch}, pace=self.pace)
        self.on_step("sweep old epochs", 1, 1)
        self.failpoint("state_swept")
        self.plans.finish()
        self.state.load()
        registered = self.state.registered()
        rebuilt = Rebuilt(
            plan.epoch,
            newest_ms or int(registered["known_ms"]),
            int(registered["events"]),
            self.written,
            self.bytes,
        )
        return StateBuild(
            rebuilt,
            plan.read_from,
            ends,
            dropped,
            replaced=plan.replaces,
            fence_ms=round(handed.fence_ms, 1) if handed else 0.0,
            attempts=handed.attempts if handed else 0,
            followed=self.followed,
            resumed=resumed,
            seconds=round(time.monotonic() - began, 3),
        )

"""Make the online state anew from the lake, while payments are being scored.

    fold what the lake holds ▸ follow the decisions on the log ▸ let payments finish ▸ fence the old epoch ▸ drain ▸ record ▸ flip

Nothing reads the new epoch before the flip, so a rebuild may die anywhere: the next one goes on from its plan. What the new
epoch has read of each shard is recorded in the lake, because the order in which features are computed again must survive
the loss of Redis; the stream scorer goes on from those very offsets. See fraud_core.features.handover for what the fence
promises. The steps have rooms of their own: planning, gathering (the lake onto shelves, in bounded memory), writing,
follower, takeover.
"""

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fraud_assets.features.spill import Room
from fraud_assets.ingestion.failpoint import STATE_FAILPOINTS, Failpoint, armed
from fraud_assets.lake import Lake
from fraud_assets.online_state.build import OnStep, Pace, StateBuild, unseen
from fraud_assets.online_state.champion import refuse_to_orphan
from fraud_assets.online_state.epochs import Handed, epoch_registry, record_epoch, record_rebuild
from fraud_assets.online_state.follower import Follower
from fraud_assets.online_state.gathering import gather
from fraud_assets.online_state.history import EVERYTHING, LiveHistory
from fraud_assets.online_state.labels import Ends, remember_pushed
from fraud_assets.online_state.lease import Lease
from fraud_assets.online_state.plan import PlanStore, RebuildPlan
from fraud_assets.online_state.planning import make_plan
from fraud_assets.online_state.shelf import CUT_BY
from fraud_assets.online_state.tail import Tail, forget
from fraud_assets.online_state.takeover import Takeover
from fraud_assets.online_state.writing import EpochWriter
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
)
from fraud_core.features.handover import Handover
from fraud_core.features.server import read_facts
from fraud_core.log import Log
from fraud_core.settings import Settings


def rebuild_state(
    settings: Settings,
    lake: Lake,
    log: Log,
    contracts: Contracts,
    features: FeatureSet,
    *,
    rate: float = 0.0,
    reason: str = "asked for",
    without_model: bool = False,
    on_step: OnStep | None = None,
    failpoint: Failpoint | None = None,
) -> StateBuild:
    """Write a new epoch from everything known within a horizon of the latest event, then make it current.

    Scoring goes on meanwhile; while the new epoch takes over, for `state_fence_s` at most, payments wait or take the
    failure ladder. `rate`: keys written a second, 0 for as many as possible. Raises StateError when Redis cannot be
    reached, another rebuild is under way, the fence was too short, or the live model would be out of service (unless
    `without_model` allows that); the present epoch then stays.
    """
    with state_client(
        settings, "The rebuild stopped, the old state stands; run again, it goes on where it was"
    ) as client:
        work = _Rebuild(settings, lake, log, contracts, features, client)
        work.pace, work.on_step = Pace(rate), on_step or unseen
        work.failpoint = failpoint or armed(settings.failpoint, STATE_FAILPOINTS)
        with work.lease.held():
            work.failpoint("state_leased")
            if not without_model:
                refuse_to_orphan(settings, client, work.state, features)
            return work.run(reason)


@dataclass
class _Done:
    """What this process did of a rebuild; another may have done the rest."""

    began: float
    resumed: bool
    ends: Ends = field(default_factory=dict)
    labelled: Ends = field(default_factory=dict)
    newest_ms: int = 0
    handed: Handed | None = None
    followed: int = 0
    written: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


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
        self.lease = Lease(self.handover)

    # -- the steps

    def run(self, reason: str) -> StateBuild:
        began = time.monotonic()
        self._refuse_eviction()
        self.client.function_load(self.state.calls.library, replace=True)
        plan = self._unfinished()
        resumed = plan is not None
        if plan is None:
            plan = make_plan(
                self.settings, self.lake, self.log, self.contracts, self.state, self._current(), reason
            )
            self.plans.begin(plan)
        done = _Done(began, resumed)
        if plan.epoch > self._current():
            self.failpoint("state_planned")
            room = Room.of(self.settings)
            with room.folder() as folder:
                self._build(plan, self._gathered(plan, room, folder), done)
        return self._finish(plan, done)

    def _build(self, plan: RebuildPlan, history: LiveHistory, done: "_Done") -> None:
        writer = EpochWriter(self.client, self.settings.namespace, history, self.pace)
        writer.write_base(plan, self.plans, self.lease, self.on_step, self.failpoint)
        self.failpoint("state_folded")
        decisions = {shard: end for shard, end in plan.goes_on.items() if shard.stream == "decisions"}
        tail = Tail(self.log, self.contracts, decisions)
        follower = Follower(history, writer, tail, self.lease, self.on_step)
        self.plans.phase("follow")
        follower.catch_up()
        done.labelled = follower.take_labels(plan, self.lake, self.contracts)
        follower.catch_up()
        self.failpoint("state_followed")
        self.plans.phase("hand over")

        def record(positions: Ends) -> None:
            self._record(plan, history, positions, done.labelled)

        takeover = Takeover(self.settings, self.handover, self.lease, follower, record, self.failpoint)
        fence, attempts = takeover.run(plan.epoch)
        self.failpoint("state_flipped")
        done.ends, done.newest_ms = tail.positions, history.newest_ms
        done.written, done.bytes, done.followed = writer.written, writer.bytes, follower.followed
        done.handed = Handed(fence.age_ms, attempts, follower.followed, history.events)

    def _refuse_eviction(self) -> None:
        if problem := read_facts(self.client).problem():
            raise StateError(problem)

    def _current(self) -> int:
        return int(self.client.get(self.state.calls.epoch_key) or 0)

    def _unfinished(self) -> RebuildPlan | None:
        """The plan that another process left, if it still holds."""
        plan = self.plans.load()
        if plan is None or plan.state_hash != self.features.state_hash or plan.cut_by != CUT_BY:
            return None
        shards = {*self.log.shards("decisions"), *self.log.shards("transactions")}
        return plan if set(plan.goes_on) == shards and plan.epoch >= self._current() else None

    def _gathered(self, plan: RebuildPlan, room: Room, folder: Path) -> LiveHistory:
        within, epochs = up_to(plan.ends), {**epoch_registry(self.lake), plan.epoch: EVERYTHING}
        base = gather(
            self.lake,
            self.contracts,
            self.features,
            plan.read_from,
            within,
            plan.parts,
            room,
            folder,
            self.on_step,
        )
        schema = self.lake.scan("transactions").collect_schema()
        return LiveHistory(self.features, base, schema, epochs, plan.epoch)

    def _record(self, plan: RebuildPlan, history: LiveHistory, positions: Ends, labelled: Ends) -> None:
        """What the epoch has read, in the lake and beside the epoch.

        Before it is current: an epoch that never comes to life does no harm in the registry, one that is missing does.
        """
        record_epoch(self.lake, self.features, plan.epoch, plan.ends | positions)
        record = epoch_record(
            self.features,
            history.newest_ms,
            history.events,
            plan.goes_on | positions,
            read_facts(self.client),
            history.entities,
            plan.read_from,
            labelled,
        )
        self.client.hset(self.state.calls.epochs_key, str(plan.epoch), record)

    def _finish(self, plan: RebuildPlan, done: "_Done") -> StateBuild:
        """What is left once the new epoch is current; done again by whoever finds it undone."""
        self.plans.phase("sweep")
        self.handover.close(plan.epoch - 1)
        namespace = self.settings.namespace
        ends = plan.ends | done.ends
        remember_pushed(self.client, namespace, plan.epoch, (done.labelled or plan.labelled) | ends)
        forget(self.log)
        self.failpoint("state_closed")
        record_rebuild(self.lake, self.features, plan, done.handed)
        self.on_step("sweep old epochs", 0, 1)
        dropped = sweep_epochs(self.client, namespace, keep={plan.epoch}, pace=self.pace)
        self.on_step("sweep old epochs", 1, 1)
        self.failpoint("state_swept")
        self.plans.finish()
        self.state.load()
        registered = self.state.registered()
        rebuilt = Rebuilt(
            plan.epoch,
            done.newest_ms or int(registered["known_ms"]),
            int(registered["events"]),
            done.written or dict.fromkeys(self.features.plans, 0),
            done.bytes,
        )
        return StateBuild(
            rebuilt,
            plan.read_from,
            ends,
            dropped,
            replaced=plan.replaces,
            fence_ms=round(done.handed.fence_ms, 1) if done.handed else 0.0,
            attempts=done.handed.attempts if done.handed else 0,
            followed=done.followed,
            resumed=done.resumed,
            seconds=round(time.monotonic() - done.began, 3),
        )

"""The new epoch's keys: first what the lake held, part by part, then again whatever something new concerns.

A part that is written is remembered, so that whoever takes over does not write it again; while it is not, writing it twice
changes nothing.
"""

from typing import Any

from fraud_assets.ingestion.failpoint import Failpoint
from fraud_assets.online_state.build import OnStep, Pace
from fraud_assets.online_state.history import LiveHistory, Touched
from fraud_assets.online_state.lease import Lease
from fraud_assets.online_state.plan import PlanStore, RebuildPlan
from fraud_core.features import write_states


class EpochWriter:
    """Writes states of one history."""

    def __init__(self, client: Any, namespace: str, history: LiveHistory, pace: Pace) -> None:
        self._client, self._namespace, self._history, self._pace = client, namespace, history, pace
        self.written: dict[str, int] = dict.fromkeys(history.features.plans, 0)
        """States of the lake's part, by kind of entity."""
        self.bytes = 0

    def write_base(
        self, plan: RebuildPlan, plans: PlanStore, lease: Lease, on_step: OnStep, failpoint: Failpoint
    ) -> None:
        """Write every part that nobody has written yet. Raises RedisError; StateError when the lease is lost."""
        done = plans.done()
        pieces = [(entity, part) for entity in self.written for part in range(plan.parts)]
        for place, (entity, part) in enumerate(pieces):
            on_step("fold", place, len(pieces))
            if f"{entity}/{part}" not in done:
                items = self._history.part(self._namespace, entity, part)
                states, size = write_states(self._client, items, self._pace)
                self.written[entity] += states
                self.bytes += size
                plans.part_done(f"{entity}/{part}")
                failpoint("state_part_written")
            lease.check()
        on_step("fold", len(pieces), len(pieces))

    def write_touched(self, touched: Touched) -> None:
        """Write entities anew, as fast as may be: payments may be waiting for it."""
        for entity, ids in touched.items():
            write_states(self._client, self._history.touched(self._namespace, entity, ids))

"""A world that goes on from now: payments at a chosen rate, with the campaigns of thieves running among them.

At a rate far above the world's own, weeks of a campaign would never be seen: what follows a campaign's first minutes
is drawn together (see `_hasten`), and the delay of labels can be divided likewise.
"""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.simulator.behaviour import Behaviour
from fraud_core.simulator.calendar import Calendar
from fraud_core.simulator.faults import draw_faults
from fraud_core.simulator.history import Chunk, scenario_names
from fraud_core.simulator.labels import SCHEMA, TYPICAL_DELAY_MS, draw_reports, to_labels
from fraud_core.simulator.payments import Payments, Tables, concatenate
from fraud_core.simulator.rhythm import DAY_MS, MINUTE_MS
from fraud_core.simulator.scenarios import Scenarios
from fraud_core.simulator.world import World


class Live:
    """Payments of a world from `start_ms` on; the start is part of every id, so that no two runs share one."""

    def __init__(
        self, world: World, start_ms: int, *, faults: float = 0.0, label_delay_ms: int | None = None
    ) -> None:
        self.world = world
        self._mark = f"t{world.spec.mark}-l{start_ms:x}"
        self._fault_share = faults
        self._pace = TYPICAL_DELAY_MS / label_delay_ms if label_delay_ms else 1.0
        self._rng = world.rng(start_ms, "live")
        self._behaviour = Behaviour(world, Calendar(world))
        self._scenarios = Scenarios(self._behaviour)
        self._tables = Tables(world)
        self._sent = self._fault_batches = 0
        self._waiting: Payments | None = None
        self._labels = pl.DataFrame(schema=SCHEMA)

    def step(self, from_ms: int, to_ms: int, count: int) -> Chunk:
        """The `count` or so payments of (from, to], and the labels and faults that arrive meanwhile."""
        rng = self._rng
        span = max(to_ms - from_ms, 1)
        due = self._frauds(from_ms, to_ms, span, count)
        honest = max(count - (len(due) if due is not None else 0), 0)
        times: NDArray[np.int64] = np.sort(from_ms + 1 + rng.integers(0, span, honest))
        parts = [self._behaviour.now(rng, times, (from_ms + 1) // DAY_MS)]
        if due is not None:
            parts.append(due)
        payments = concatenate(parts)
        payments = payments.take(np.argsort(payments.time_ms, kind="stable"))
        ids = pl.Series(
            [f"{self._mark}-{number:07d}" for number in range(self._sent, self._sent + len(payments))],
            dtype=pl.String,
        )
        self._sent += len(payments)
        rows = self._tables.transactions(payments, ids).with_columns(
            pl.Series("_virtual_ms", np.minimum(payments.time_ms, to_ms)), scenario_names(payments)
        )
        reports = draw_reports(rng, payments.time_ms, payments.scenario, self._pace)
        waiting = pl.concat(
            [self._labels, to_labels(reports, ids.gather(reports.payment), payments.time_ms[reports.payment])]
        )
        # The arrival of a label is not hastened, only its report.
        known = waiting["_virtual_ms"] <= to_ms
        self._labels = waiting.filter(~known)
        faults = []
        if self._fault_share and rows.height:
            mark = f"{self._mark}-{self._fault_batches:06d}"
            faults = draw_faults(rng, rows.drop("_scenario"), self._fault_share, mark, to_ms)
            self._fault_batches += 1
        return Chunk(rows, waiting.filter(known).sort("_virtual_ms"), faults)

    def _frauds(self, from_ms: int, to_ms: int, span: int, count: int) -> Payments | None:
        new = self._scenarios.draw(self._rng, from_ms + 1, span, self.world.spec.fraud_share * count)
        parts = [part for part in (self._waiting, None if new is None else _hasten(new)) if part is not None]
        if not parts:
            return None
        waiting = concatenate(parts)
        due = waiting.time_ms <= to_ms
        self._waiting = waiting.take(~due)
        return waiting.take(due)


def _hasten(campaigns: Payments) -> Payments:
    """Campaigns within minutes: t after the beginning becomes 30 s · ln(1 + t / 10 min), a fortnight four minutes."""
    _, group = np.unique(campaigns.campaign, return_inverse=True)
    begin = np.full(int(group.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(begin, group, campaigns.time_ms)
    since = (campaigns.time_ms - begin[group]) / (10 * MINUTE_MS)
    return replace(campaigns, time_ms=begin[group] + (30_000 * np.log1p(since)).astype(np.int64))

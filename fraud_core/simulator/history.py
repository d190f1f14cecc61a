"""The past of a world, chunk by chunk in the order in which it reached the log, in bounded memory.

Every day is drawn on its own (see `world`), so that a history does not depend on where it begins or ends: two
histories of the same world hold the same events, byte by byte, where they overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from fraud_core.errors import SettingsError
from fraud_core.simulator.behaviour import Behaviour
from fraud_core.simulator.calendar import Calendar
from fraud_core.simulator.faults import Fault, draw_faults
from fraud_core.simulator.labels import SCHEMA, draw_labels
from fraud_core.simulator.payments import GENUINE, Payments, Tables, concatenate
from fraud_core.simulator.rhythm import DAY_MS, HOUR_MS, MINUTE_MS
from fraud_core.simulator.scenarios import LONGEST_DAYS, Scenarios
from fraud_core.simulator.world import BORN_DAY, SCENARIOS, World

_CHUNK_EVENTS = 60_000
_LATE, _VERY_LATE = 0.004, 0.0005


@dataclass(frozen=True)
class Chunk:
    """What reached the log in a stretch of time, in order of arrival (`_virtual_ms`, ms)."""

    transactions: pl.DataFrame
    """Columns of the contract, `_virtual_ms`, and `_scenario` (null for an honest payment)."""
    labels: pl.DataFrame
    faults: list[Fault]


class History:
    """All events of a world in [start, until) that reached the log by `until`. Times in ms since 1970."""

    def __init__(self, world: World, start_ms: int, until_ms: int, faults: float = 0.0) -> None:
        if start_ms // DAY_MS < BORN_DAY:
            born = np.datetime64(BORN_DAY, "D")
            raise SettingsError(
                f"The simulated world begins on {born}; a history from {np.datetime64(start_ms, 'ms')} was asked for. "
                "Choose a later --until or a shorter --history."
            )
        if not 0 <= faults <= 0.5:
            raise SettingsError(f"--faults was expected as a share between 0 and 0.5; found {faults}.")
        self.world = world
        self.start_ms, self.until_ms, self.fault_share = start_ms, until_ms, faults
        calendar = Calendar(world)
        self._behaviour = Behaviour(world, calendar)
        self._scenarios = Scenarios(self._behaviour)
        self._tables = Tables(world)
        self._campaigns: dict[int, Payments | None] = {}

    def chunks(self) -> Iterator[Chunk]:
        """The history in order of arrival. What would arrive after `until` is left out."""
        late: list[pl.DataFrame] = []
        labels = pl.DataFrame(schema=SCHEMA)
        for days in self._groups():
            rows, new_labels = self._rows(days)
            end_ms = min((days[-1] + 1) * DAY_MS, self.until_ms)
            rows = pl.concat([*late, rows]).sort("_virtual_ms", "transaction_id")
            labels = pl.concat([labels, new_labels]).sort(
                "_virtual_ms", "transaction_id", maintain_order=True
            )
            due = rows["_virtual_ms"] < end_ms
            late = [rows.filter(~due)]
            rows = rows.filter(due)
            known = labels["_virtual_ms"] < end_ms
            faults: list[Fault] = []
            if self.fault_share:
                rng = self.world.rng(days[0], "faults")
                mark = f"t{self.world.spec.mark}-{days[0]}"
                faults = draw_faults(rng, rows.drop("_scenario"), self.fault_share, mark, end_ms - 1)
            yield Chunk(rows, labels.filter(known), faults)
            labels = labels.filter(~known)

    def _groups(self) -> Iterator[list[int]]:
        """Whole days, in groups that begin at fixed days so that chunks agree between histories."""
        size = max(1, min(30, int(_CHUNK_EVENTS / self.world.spec.events_per_day)))
        first, last = self.start_ms // DAY_MS, (self.until_ms - 1) // DAY_MS
        group: list[int] = []
        for day in range(first, last + 1):
            if group and day % size == 0:
                yield group
                group = []
            group.append(day)
        if group:
            yield group

    def _rows(self, days: list[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
        parts, ids, labels, known = [], [], [], []
        for day in days:
            payments = self._payments(day)
            day_ids = pl.select(
                pl.concat_str(
                    pl.lit(f"t{self.world.spec.mark}-{day}-"),
                    pl.int_range(len(payments)).cast(pl.String).str.zfill(6),
                )
            ).to_series()
            rng = self.world.rng(day, "arrival")
            known.append(payments.time_ms + arrival_delay_ms(rng, len(payments)))
            labels.append(draw_labels(rng, day_ids, payments.time_ms, payments.scenario))
            parts.append(payments)
            ids.append(day_ids)
        payments, all_ids = concatenate(parts), pl.concat(ids)
        rows = self._tables.transactions(payments, all_ids).with_columns(
            pl.Series("_virtual_ms", np.concatenate(known)), scenario_names(payments)
        )
        within = (payments.time_ms >= self.start_ms) & (payments.time_ms < self.until_ms)
        all_labels = pl.concat(labels)
        if not within.all():
            rows = rows.filter(pl.Series(within))
            all_labels = all_labels.filter(
                (pl.col("event_ts").dt.epoch("ms") >= self.start_ms)
                & (pl.col("event_ts").dt.epoch("ms") < self.until_ms)
            )
        return rows, all_labels

    def _payments(self, day: int) -> Payments:
        """All payments of a day in order of time."""
        parts = [self._behaviour.day(day)]
        for begun in range(day - LONGEST_DAYS, day + 1):
            if begun not in self._campaigns:
                self._campaigns[begun] = self._scenarios.day(begun)
            campaigns = self._campaigns[begun]
            if campaigns is not None:
                parts.append(campaigns.take(campaigns.time_ms // DAY_MS == day))
        self._campaigns.pop(day - LONGEST_DAYS, None)
        payments = concatenate(parts)
        return payments.take(np.lexsort((payments.merchant, payments.account, payments.time_ms)))


def arrival_delay_ms(rng: np.random.Generator, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How long events are on their way: about half a second, a few minutes for some, hours for very few."""
    delay = rng.lognormal(np.log(400), 0.7, size)
    draw = rng.random(size)
    delay += np.where(draw < _LATE, rng.exponential(12 * MINUTE_MS, size), 0.0)
    delay += np.where(draw > 1 - _VERY_LATE, rng.exponential(5 * HOUR_MS, size), 0.0)
    return delay.astype(np.int64)


def scenario_names(payments: Payments) -> pl.Series:
    """Name of each payment's fraud scenario, null for an honest payment."""
    index = pl.Series(payments.scenario.astype(np.int64))
    names = pl.Series(SCENARIOS, dtype=pl.String)
    return names.gather(index.set(index == GENUINE, None)).rename("_scenario")

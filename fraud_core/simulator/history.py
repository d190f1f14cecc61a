"""The past of a world, chunk by chunk in the order in which it reached the log, in bounded memory.

Every day is drawn on its own (see `world`), so that a history does not depend on where it begins or ends: two
histories of the same world hold the same events, byte by byte, where they overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.errors import SettingsError
from fraud_core.simulator.behaviour import Behaviour
from fraud_core.simulator.calendar import Calendar
from fraud_core.simulator.faults import Fault, draw_faults
from fraud_core.simulator.labels import SCHEMA, draw_reports, join_reports, to_labels
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

    def chunks(self) -> Iterator[Chunk]:
        """The history in order of arrival. What would arrive after `until` is left out."""
        late: list[_Sent] = []
        labels = pl.DataFrame(schema=SCHEMA)
        campaigns = _Campaigns(self._scenarios)
        for days in self._groups():
            drawn, new_labels = self._draw(days, campaigns)
            end_ms = min((days[-1] + 1) * DAY_MS, self.until_ms)
            sent = _joined([*late, drawn])
            sent = sent.take(np.lexsort((sent.number, sent.day, sent.known_ms)))
            due = int(np.searchsorted(sent.known_ms, end_ms))
            late = [sent.take(slice(due, None))]
            rows = self._table(sent.take(slice(0, due)))
            labels = pl.concat([labels, new_labels]).sort(
                "_virtual_ms", "transaction_id", maintain_order=True
            )
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

    def _draw(self, days: list[int], campaigns: "_Campaigns") -> tuple["_Sent", pl.DataFrame]:
        """Payments and labels of these days, which follow each other."""
        honest = [self._behaviour.day(day) for day in days]
        payments = concatenate([*honest, *(part for day in days for part in campaigns.on(day))])
        payments = payments.take(np.lexsort((payments.merchant, payments.account, payments.time_ms)))
        bounds = np.searchsorted(payments.time_ms, np.arange(days[0], days[-1] + 2) * DAY_MS)
        known, reports = [], []
        for day, first, end in zip(days, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            rng = self.world.rng(day, "arrival")
            time_ms = payments.time_ms[first:end]
            known.append(time_ms + arrival_delay_ms(rng, end - first))
            of_day = draw_reports(rng, time_ms, payments.scenario[first:end])
            reports.append(replace(of_day, payment=of_day.payment + first))
        counts = np.diff(bounds)
        number = np.arange(bounds[-1]) - np.repeat(bounds[:-1], counts)
        sent = _Sent(payments, np.concatenate(known), np.repeat(days, counts), number)
        inside = (payments.time_ms >= self.start_ms) & (payments.time_ms < self.until_ms)
        report = join_reports(reports)
        report = report.take(inside[report.payment])
        labels = to_labels(report, self._ids(sent.take(report.payment)), payments.time_ms[report.payment])
        return sent.take(inside), labels

    def _table(self, sent: "_Sent") -> pl.DataFrame:
        return self._tables.transactions(sent.payments, self._ids(sent)).with_columns(
            pl.Series("_virtual_ms", sent.known_ms), scenario_names(sent.payments)
        )

    def _ids(self, sent: "_Sent") -> pl.Series:
        """An id for each payment: the world's mark, the day, the payment's number on that day."""
        return pl.select(
            pl.concat_str(
                pl.lit(f"t{self.world.spec.mark}-"),
                pl.lit(pl.Series(sent.day)).cast(pl.String),
                pl.lit("-"),
                pl.lit(pl.Series(sent.number)).cast(pl.String).str.zfill(6),
            )
        ).to_series()


@dataclass(frozen=True)
class _Sent:
    """Payments on their way, still as numbers."""

    payments: Payments
    known_ms: NDArray[np.int64]
    """When each reaches the log."""
    day: NDArray[np.int64]
    number: NDArray[np.int64]
    """Place of the payment on its day, in order of time."""

    def take(self, rows: NDArray[Any] | slice) -> "_Sent":
        return _Sent(self.payments.take(rows), self.known_ms[rows], self.day[rows], self.number[rows])


def _joined(parts: list[_Sent]) -> _Sent:
    return _Sent(
        concatenate([part.payments for part in parts]),
        np.concatenate([part.known_ms for part in parts]),
        np.concatenate([part.day for part in parts]),
        np.concatenate([part.number for part in parts]),
    )


class _Campaigns:
    """The payments of all campaigns, day after day; each campaign is drawn once and its payments wait for their day."""

    def __init__(self, scenarios: Scenarios) -> None:
        self._scenarios = scenarios
        self._waiting: dict[int, list[Payments]] = {}
        self._drawn: int | None = None

    def on(self, day: int) -> list[Payments]:
        """What happens on `day`; days are asked for in order."""
        for begun in range(day - LONGEST_DAYS if self._drawn is None else self._drawn + 1, day + 1):
            payments = self._scenarios.day(begun)
            if payments is not None:
                self._put_off(payments)
        self._drawn = day
        return self._waiting.pop(day, [])

    def _put_off(self, payments: Payments) -> None:
        days = payments.time_ms // DAY_MS
        order = np.argsort(days, kind="stable")
        present, first = np.unique(days[order], return_index=True)
        parts = payments.take(order).cut(np.append(first, len(order)))
        for day, part in zip(present.tolist(), parts, strict=True):
            self._waiting.setdefault(day, []).append(part)


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

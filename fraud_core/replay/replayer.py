"""Putting the events of a file on the log in order of time, merged with their labels at the time of their report.

The virtual append time of an event is its event time, of a label its report: whoever reads the log sees the past as it
happened. An event without a time is known with the last that has one; ingestion keeps it in quarantine. Sending the same file again is safe: ingestion counts every event as a duplicate.
"""

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import polars as pl
import polars.selectors as cs

from fraud_core.contracts import Contracts
from fraud_core.log import Log
from fraud_core.log.framing import block_entry
from fraud_core.log.manifest import Manifest
from fraud_core.replay.mapping import Mapping
from fraud_core.replay.source import LABEL_PREFIX, Source

TRANSACTIONS: Final = "transactions"
LABELS: Final = "labels"
VIRTUAL: Final = "_virtual_ms"
_SLICE_S: Final = 0.1
"""How finely a paced replay is cut."""
_LOOK_S: Final = 0.2
"""Between two looks, while waiting, whether to stop."""
_LANES_PER_SHARD: Final = 8


@dataclass(frozen=True)
class Pace:
    """How fast: `rate` events a second, `speedup` times as fast as it happened, or (neither) as fast as it goes."""

    rate: float = 0.0
    speedup: float = 0.0


@dataclass
class Replayed:
    """Counts of what was put on the log."""

    transactions: int = 0
    labels: int = 0
    labels_held_back: int = 0
    """Labels whose report would still lie in the future."""
    entries: int = 0
    first_ms: int = 0
    last_ms: int = 0


class Replay:
    """One replay of one file."""

    def __init__(
        self,
        log: Log,
        contracts: Contracts,
        mapping: Mapping,
        *,
        pace: Pace = Pace(),
        block_events: int = 2_000,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manifest = Manifest()
        self.counts = Replayed()
        self._log = log
        self._contracts = contracts
        self._mapping = mapping
        self._pace = pace
        self._block_events = block_events
        self._sleep = sleep
        self._clock = clock
        shards = len(log.shards(TRANSACTIONS))
        self._lanes = 1 if shards == 1 else shards * _LANES_PER_SHARD
        self._labels: pl.DataFrame | None = None

    def run(
        self,
        source: Source,
        progress: Callable[[int], None] = lambda _rows: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Send everything, or what comes before `stop` says so; whether it was everything.

        `progress` is told how many rows were sent so far.
        """
        begun = self._clock()
        with source.batches() as batches:
            for batch in batches:
                for part, due_s in self._paced(batch):
                    while (wait := begun + due_s - self._clock()) > 0 and not stop():
                        self._sleep(min(wait, _LOOK_S))
                    if stop():
                        return False
                    self._send(part)
                    progress(self.counts.transactions)
        self._send_labels(int(time.time() * 1000))
        if self._labels is not None:
            self.counts.labels_held_back = self._labels.height
        return True

    def _paced(self, batch: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, float]]:
        """Parts of a batch, each with the second after the start at which it is due."""
        if self._pace.rate:
            size = max(1, int(self._pace.rate * _SLICE_S))
            sent = self.counts.transactions
            for start in range(0, batch.height, size):
                yield batch[start : start + size], (sent + start) / self._pace.rate
        elif self._pace.speedup:
            times = self._known_ms(batch)
            first = self.counts.first_ms or int(times[0])
            slices = ((times - first) / (1000 * self._pace.speedup * _SLICE_S)).cast(pl.Int64)
            starts = (
                slices.rle_id()
                .to_frame("id")
                .with_row_index()
                .group_by("id", maintain_order=True)
                .first()["index"]
            )
            bounds = [*starts.to_list(), batch.height]
            for start, end in pairwise(bounds):
                yield batch[start:end], float(slices[start] + 1) * _SLICE_S
        else:
            yield batch, 0.0

    def _send(self, batch: pl.DataFrame) -> None:
        contract = self._contracts.transactions
        known_ms = self._known_ms(batch)
        rows = batch.select(~cs.starts_with(LABEL_PREFIX)).with_columns(known_ms)
        self.counts.first_ms = self.counts.first_ms or int(known_ms[0])
        self.counts.last_ms = int(known_ms[-1])
        for lane, part in _by_lane(rows, next(iter(contract.entities.values())), self._lanes):
            self._append(TRANSACTIONS, part, lane)
            self.manifest.add(TRANSACTIONS, part[contract.event_id].to_list())
        self.counts.transactions += rows.height
        if self._mapping.labels:
            fresh = self._labels_of(batch.with_columns(known_ms))
            self._labels = fresh if self._labels is None else pl.concat([self._labels, fresh])
            self._send_labels(self.counts.last_ms)

    def _known_ms(self, batch: pl.DataFrame) -> pl.Series:
        """When each event is known: at its own time, without one at that of the event before it."""
        times = batch[self._contracts.transactions.event_time].dt.epoch("ms").alias(VIRTUAL).forward_fill()
        return times.fill_null(self.counts.last_ms or int(time.time() * 1000))

    def _labels_of(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The labels of a batch: one for each fraud; what has none is genuine so far."""
        transactions, labels = self._contracts.transactions, self._contracts.labels
        assert labels.label is not None  # load_mapping saw to it
        assert labels.reported_at is not None
        event_time = pl.col(transactions.event_time)
        reported = event_time + pl.duration(milliseconds=self._mapping.label_delay_ms)
        if labels.reported_at in self._mapping.labels:
            # A verdict is never older than the payment it is about, whatever the file says.
            told = pl.col(f"{LABEL_PREFIX}{labels.reported_at}")
            reported = pl.max_horizontal(pl.coalesce(told, reported), event_time)
        values = {name: pl.col(f"{LABEL_PREFIX}{name}") for name in self._mapping.labels}
        values |= {
            labels.event_id: pl.col(transactions.event_id),
            labels.event_time: event_time,
            labels.reported_at: reported,
        }
        frauds = batch.filter(pl.col(f"{LABEL_PREFIX}{labels.label}"))
        names = [item.name for item in labels.fields if item.name in values]
        return frauds.select(
            *(values[name].alias(name) for name in names),
            reported.dt.epoch("ms").fill_null(pl.col(VIRTUAL)).alias(VIRTUAL),
        )

    def _send_labels(self, upto_ms: int) -> None:
        """Send the labels reported by then, in order of their report."""
        if self._labels is None:
            return
        due = self._labels[VIRTUAL] <= upto_ms
        rows = self._labels.filter(due).sort(VIRTUAL, maintain_order=True)
        self._labels = self._labels.filter(~due)
        if rows.height:
            self._append(LABELS, rows, 0)
            self.manifest.add(LABELS, rows[self._contracts.labels.event_id].to_list())
            self.counts.labels += rows.height

    def _append(self, stream: str, rows: pl.DataFrame, lane: int) -> None:
        parts = [
            rows[start : start + self._block_events] for start in range(0, rows.height, self._block_events)
        ]
        entries = [block_entry(part, int(part[VIRTUAL][-1])) for part in parts]
        self._log.append(stream, entries, None if self._lanes == 1 else [f"lane-{lane}"] * len(entries))
        self.counts.entries += len(entries)


def _by_lane(rows: pl.DataFrame, entity: str, lanes: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """The rows by lane of an entity's value, so that everything of one entity lies in one shard, in order."""
    if lanes == 1:
        yield 0, rows
        return
    values = rows[entity].cast(pl.String).fill_null("")
    table = {value: zlib.crc32(value.encode()) % lanes for value in values.unique().to_list()}
    number = values.replace_strict(table, return_dtype=pl.Int64)
    for lane in range(lanes):
        mine = rows.filter(number == lane)
        if mine.height:
            yield lane, mine

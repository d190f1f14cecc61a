"""Reading a plan's entries from the log as typed rows, each with its origin and the time at which it became known.

Nothing is dropped here: what cannot be read stays a row with its reasons and its bytes. How much is held at once is
bounded by events, whatever the size of the entries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_assets.ingestion.decisions import inner_events
from fraud_assets.ingestion.plan import Plan
from fraud_assets.lake.schemas import DECISIONS
from fraud_core.contracts import (
    UNKNOWN_FRAMING,
    Contract,
    Contracts,
    Parsed,
    parse_blocks,
    parse_json,
    unreadable,
)
from fraud_core.errors import LostRange
from fraud_core.log import BLOCK, JSON, NO_VIRTUAL_TIME, UNKNOWN, Entries, Log, Shard

_FIRST_CHUNK: Final = 16
_LARGEST_CHUNK: Final = 16_384
_SMALL_CHUNK: Final = 8_192
"""Rows of a chunk below which rows are put into one piece."""


@dataclass(frozen=True)
class Batch:
    """The events of a range of a shard, in order; arrays have one item per event."""

    shard: Shard
    start: int
    end: int
    entries: int
    rows: pl.DataFrame
    """The contract's columns."""
    found: Mapping[int, tuple[str, ...]]
    """What reading found wrong, by row."""
    offsets: NDArray[np.int64]
    indexes: NDArray[np.int32]
    append_ms: NDArray[np.int64]
    known_ms: NDArray[np.int64]
    early: NDArray[np.bool_]
    """Where the virtual time is later than the append: such an event would have been known before it came."""
    payload: Callable[[int], bytes] = field(repr=False)
    """The bytes of an event as they came; of one that came in a block, the event as JSON."""
    inner: Parsed | None = None
    """Of decisions: the payments within."""
    replay_of: Mapping[int, str] = field(default_factory=dict)
    """Of events brought back from quarantine: the origin that their entry names, by row."""

    def __len__(self) -> int:
        return len(self.offsets)


def read_batch(log: Log, shard: Shard, plan: Plan, contracts: Contracts, max_events: int) -> Batch:
    """The events of `plan`: all of them when it is judged already, else at most about `max_events`.

    Raises LostRange when entries of the range are no longer there.
    """
    reader = _Reader(contracts.for_stream(shard.stream))
    after, chunk = plan.start, _FIRST_CHUNK if plan.judged else min(_FIRST_CHUNK, max_events)
    while after < plan.end:
        entries = log.read(shard, after, plan.end, chunk)
        if entries.replay_of and not plan.judged:
            entries = reader.before_second_copy(entries)
        if entries.end <= after:
            break
        reader.take(entries)
        after = entries.end
        left = max_events - reader.events
        if not plan.judged and left <= 0:
            break
        per_entry = max(1, reader.events // max(1, reader.entries))
        room = left if not plan.judged else _LARGEST_CHUNK * per_entry
        chunk = max(1, min(chunk * 4, _LARGEST_CHUNK, room // per_entry))
    if plan.judged and after != plan.end:
        raise LostRange(
            f"Shard {shard} was judged up to offset {plan.end}, and the entries up to there were expected in the log to be "
            f"written to the main tables; they end at {after}. Restore the log from its append-only file: quarantine "
            "holds the verdicts, the valid events are only there. Nothing was skipped."
        )
    batch = reader.batch(shard, plan.start, after)
    return replace(batch, inner=inner_events(contracts, batch.rows)) if shard.stream == DECISIONS else batch


class _Reader:
    """Reads entries as they come: the single events of a chunk with one call, and its blocks with few."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.entries = 0
        self.events = 0
        self._chunks: list[Entries] = []
        self._parts: list[tuple[NDArray[np.int64], Parsed]] = []
        """What was read, and of each of its events the entry it came in."""
        self._origins: dict[int, str] = {}

    def before_second_copy(self, entries: Entries) -> Entries:
        """The entries before the first that brings back an event of which this plan holds a copy already: the next plan
        begins there, and finds in the table what became of the first copy."""
        seen = set(self._origins.values())
        for place, origin in sorted(entries.replay_of.items()):
            if origin in seen:
                return entries.first(place)
            seen.add(origin)
        return entries

    def take(self, entries: Entries) -> None:
        """Read a chunk."""
        self._chunks.append(entries)
        self._origins.update((self.entries + place, origin) for place, origin in entries.replay_of.items())
        singles = [place for place, kind in enumerate(entries.kinds) if kind == JSON]
        if len(singles) == len(entries):
            self._add(
                np.arange(self.entries, self.entries + len(singles)),
                parse_json(self.contract, entries.payloads),
            )
        else:
            if singles:
                events = parse_json(self.contract, [entries.payloads[place] for place in singles])
                self._add(self.entries + np.array(singles, dtype=np.int64), events)
            blocks = [place for place, kind in enumerate(entries.kinds) if kind == BLOCK]
            first = 0
            for heights, block in parse_blocks(self.contract, [entries.payloads[place] for place in blocks]):
                places = np.array(blocks[first : first + len(heights)], dtype=np.int64)
                self._add(np.repeat(self.entries + places, heights), block)
                first += len(heights)
            for place, kind in enumerate(entries.kinds):
                if kind == UNKNOWN:
                    unknown = unreadable(self.contract, entries.payloads[place], UNKNOWN_FRAMING)
                    self._add(np.array([self.entries + place]), unknown)
        self.entries += len(entries)

    def _add(self, entry: NDArray[np.int64], part: Parsed) -> None:
        self._parts.append((entry, part))
        self.events += part.frame.height

    def batch(self, shard: Shard, start: int, end: int) -> Batch:
        """Everything taken, as one batch in the order of the log."""
        places = [entry for entry, _ in self._parts]
        parts = [part for _, part in self._parts] or [parse_json(self.contract, [])]
        heights = [part.frame.height for part in parts]
        # The entry of each event, first in the order in which they were read, then in the order of the log.
        entry = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
        order = np.argsort(entry, kind="stable") if (np.diff(entry) < 0).any() else None
        rows = pl.concat([part.frame for part in parts], rechunk=False)
        if (
            rows.n_chunks() * _SMALL_CHUNK > rows.height
        ):  # blocks: every rule and column would pay for each of them
            rows = rows.rechunk()
        virtual = self._column("virtual_ms", NO_VIRTUAL_TIME)[entry]
        firsts = np.cumsum([0, *heights])
        found: dict[int, tuple[str, ...]] = {}
        for first, part in zip(firsts[:-1], parts, strict=True):
            found.update((int(first) + row, codes) for row, codes in part.found.items())
            if part.virtual_ms is not None:
                virtual[first : first + part.frame.height] = part.virtual_ms.fill_null(
                    NO_VIRTUAL_TIME
                ).to_numpy()
        source = np.arange(len(entry))
        if order is not None:
            place = np.empty_like(order)
            place[order] = source
            rows, entry, virtual, source = rows[order], entry[order], virtual[order], order
            found = {int(place[row]): codes for row, codes in found.items()}
        append_ms = self._column("append_ms", 0)[entry]
        timed = virtual != NO_VIRTUAL_TIME
        early = timed & ((virtual > append_ms) | (virtual < 0))

        def payload(row: int) -> bytes:
            part = int(np.searchsorted(firsts, source[row], side="right")) - 1
            return parts[part].payload(int(source[row] - firsts[part]))

        return Batch(
            shard=shard,
            start=start,
            end=end,
            entries=self.entries,
            rows=rows,
            found=found,
            offsets=self._column("offsets", 0)[entry],
            indexes=_positions(entry),
            append_ms=append_ms,
            known_ms=np.where(timed & ~early, virtual, append_ms),
            early=early,
            payload=payload,
            replay_of={
                row: origin
                for place, origin in self._origins.items()
                for row in range(*np.searchsorted(entry, (place, place + 1)).tolist())
            },
        )

    def _column(self, name: str, default: int) -> NDArray[np.int64]:
        arrays = [getattr(chunk, name) for chunk in self._chunks]
        return np.concatenate(arrays) if arrays else np.full(0, default, dtype=np.int64)


def _positions(entry: NDArray[np.int64]) -> NDArray[np.int32]:
    """Index of each event within its entry; `entry` is ascending."""
    if not len(entry):
        return np.empty(0, dtype=np.int32)
    starts = np.flatnonzero(np.diff(entry, prepend=entry[0] - 1))
    first = np.repeat(starts, np.diff(starts, append=len(entry)))
    return (np.arange(len(entry)) - first).astype(np.int32)

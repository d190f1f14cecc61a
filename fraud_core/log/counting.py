"""Counting events by reading entries: exact for any log, at the cost of reading each entry once.

A log that keeps counters of its own uses it only where a counter is missing; one that keeps none remembers what it has
counted in an EventIndex, so that whoever asks again and again has each entry read once.
"""

from bisect import bisect_left, bisect_right
from typing import Final, Protocol

from fraud_core.log.protocol import Entries, Shard, Tally

_FIRST: Final = 256
_LARGEST: Final = 16_384
_BYTES: Final = 16 << 20
"""About how much one read may bring: blocks are large, single events are not."""


class Readable(Protocol):
    """What counting needs of a log."""

    def end(self, shard: Shard) -> int: ...

    def read(self, shard: Shard, after: int, upto: int, limit: int) -> Entries: ...

    def readers(self, shard: Shard) -> dict[str, int]: ...


def count_by_reading(log: Readable, shard: Shard, after: int, upto: int) -> int:
    """Events in the entries of (after, upto]. Raises LostRange when entries after `after` may have been removed."""
    index = EventIndex(after)
    index.extend(log, shard, upto)
    return index.counted


class EventIndex:
    """How many events a shard holds from where the index begins up to each of some offsets."""

    def __init__(self, begin: int, counted: int = 0) -> None:
        self._offsets = [begin]
        self._counts = [counted]

    @property
    def counted(self) -> int:
        """Events up to the last entry seen."""
        return self._counts[-1]

    @property
    def begin(self) -> int:
        """Offset after which it knows anything."""
        return self._offsets[0]

    @property
    def end(self) -> int:
        """Offset of the last entry seen."""
        return self._offsets[-1]

    def extend(self, log: Readable, shard: Shard, upto: int) -> None:
        """Read on to `upto`."""
        limit = _FIRST
        while self._offsets[-1] < upto:
            entries = log.read(shard, self._offsets[-1], upto, limit)
            if entries.end == self._offsets[-1]:
                return
            self._offsets.append(entries.end)
            self._counts.append(self._counts[-1] + entries.events)
            size = sum(map(len, entries.payloads)) // max(1, len(entries)) + 1
            limit = max(1, min(limit * 4, _LARGEST, _BYTES // size))

    def upto(self, log: Readable, shard: Shard, offset: int) -> int:
        """Events up to `offset`, which lies within the index. What follows it up to the next known offset is read again:
        what precedes it may be gone."""
        place = bisect_left(self._offsets, offset)
        return self._counts[place] - count_by_reading(log, shard, offset, self._offsets[place])

    def forget_before(self, offset: int) -> None:
        """Drop what no reader needs any more."""
        place = max(0, bisect_right(self._offsets, offset) - 1)
        del self._offsets[:place], self._counts[:place]


class TallyByReading:
    """A log's tally for one that keeps no counters; hold one per shard for as long as the log is open."""

    def __init__(self) -> None:
        self._index: EventIndex | None = None

    def tally(self, log: Readable, shard: Shard) -> Tally:
        """Counts from the slowest reader (or the beginning) to the end; what was counted before is not read again."""
        positions = log.readers(shard)
        slowest, index = min(positions.values(), default=0), self._index
        if index is None or not index.begin <= slowest <= index.end:
            index = EventIndex(slowest, index.counted if index else 0)
        index.extend(log, shard, max(log.end(shard), *positions.values(), 0))
        index.forget_before(slowest)
        self._index = index
        return Tally(
            index.counted,
            {name: index.upto(log, shard, min(at, index.end)) for name, at in positions.items()},
        )

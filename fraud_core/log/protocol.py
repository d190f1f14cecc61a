"""What a log is to everything that writes or reads one: streams, shards, offsets, entries.

An offset is one integer that grows along a shard; 0 stands before the first entry. A reader that has finished
offset `o` asks for what comes after `o`, and the entry *at* `o` stays in the log as the proof that nothing between
was removed unread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["json", "block", "unknown"]
JSON: Final = "json"
BLOCK: Final = "block"
UNKNOWN: Final = "unknown"
"""An entry in a framing that this version cannot read; its payload holds all its fields."""
NO_VIRTUAL_TIME: Final = -1
INGEST: Final = "ingest"
"""The reader of every stream that brings it into the lake."""
SCORER: Final = "scorer"
"""The reader of `transactions` that scores them; a rebuild of the online state registers it where it has to begin."""


@dataclass(frozen=True)
class Shard:
    """One shard of a stream in one life of the log: a log that was wiped and filled again is another incarnation."""

    stream: str
    number: int
    incarnation: str

    @property
    def app_id(self) -> str:
        """Name under which Delta tables record the committed end offset of this shard."""
        return f"{self.stream}/{self.incarnation}/{self.number}"

    @classmethod
    def of(cls, app_id: str) -> "Shard":
        """The shard of an `app_id`."""
        stream, incarnation, number = app_id.rsplit("/", 2)
        return cls(stream, int(number), incarnation)

    def __str__(self) -> str:
        return f"{self.stream}/{self.number}"


class Entry(NamedTuple):
    """What a producer appends: one JSON event, or a block of many (an Arrow IPC stream, zstd).

    A tuple, because producers make one for each event, and a frozen dataclass takes four times as long to make.
    """

    kind: Kind
    payload: bytes
    virtual_ms: int | None = None
    """In a replay: the time at which the event would have been appended, in ms; never later than the append."""
    replay_of: str | None = None
    """Of an event brought back from quarantine: the origin (see `Origin`) of its first appearance."""
    events: int = 1
    """How many events a block holds; written beside it, so that nobody unpacks a block to count it."""


@dataclass(frozen=True)
class Entries:
    """Entries as read, in the order of the shard; all arrays have one item per entry."""

    shard: Shard
    offsets: NDArray[np.int64]
    append_ms: NDArray[np.int64]
    kinds: list[Kind]
    payloads: Sequence[bytes]
    virtual_ms: NDArray[np.int64]
    """NO_VIRTUAL_TIME (-1) where the entry has none."""
    end: int
    """Up to where this is all there is, what a commit records: the offset of the last entry, or further where nothing follows
    it in the range; the offset asked after when there is nothing at all."""
    replay_of: Mapping[int, str] = field(default_factory=dict)
    """Origins that entries brought back from quarantine name, by position; as written, so it may be no origin at all."""
    held: Mapping[int, int] = field(default_factory=dict)
    """How many events the blocks hold, by row; every other entry holds one."""

    def __len__(self) -> int:
        return len(self.payloads)

    @property
    def events(self) -> int:
        """Events in these entries, as their producers counted them."""
        return len(self) - len(self.held) + sum(self.held.values())

    def first(self, count: int) -> "Entries":
        """The first `count` of these entries; of none, the end is that of what came before, which only the caller knows."""
        return Entries(
            shard=self.shard,
            offsets=self.offsets[:count],
            append_ms=self.append_ms[:count],
            kinds=self.kinds[:count],
            payloads=self.payloads[:count],
            virtual_ms=self.virtual_ms[:count],
            end=int(self.offsets[count - 1]) if count else 0,
            replay_of={place: origin for place, origin in self.replay_of.items() if place < count},
            held={place: events for place, events in self.held.items() if place < count},
        )


@dataclass(frozen=True)
class Tally:
    """A shard in events instead of entries. Only differences mean something: where counting began is the log's affair."""

    appended: int
    passed: Mapping[str, int]
    """What each registered reader has finished."""

    def behind(self, reader: str) -> int:
        """Events that the reader has still to read; of one that is not registered, all there ever were."""
        return max(0, self.appended - self.passed.get(reader, 0))


class Log(Protocol):
    """A log. Implementations: Redis Streams, Kafka."""

    def probe(self) -> None:
        """Refuse a server that cannot be reached (LogUnavailable) or that is unsafe to keep the log (LogError)."""
        ...

    def shards(self, stream: str) -> tuple[Shard, ...]:
        """The shards of a stream; marks the log's incarnation on first use."""
        ...

    def existing_shards(self, stream: str) -> tuple[Shard, ...]:
        """The same for whoever only looks: changes nothing, and there are none where nobody has used the stream yet."""
        ...

    def append(
        self,
        stream: str,
        entries: Sequence[Entry],
        keys: Sequence[str] | None = None,
        *,
        shard: int | None = None,
    ) -> list[int]:
        """Append entries and return their offsets, in the order given. Equal keys go to the same shard, in order.

        `shard` puts all of them into that one: an event from quarantine goes where its first copy went.
        """
        ...

    def end(self, shard: Shard) -> int:
        """Offset of the last entry ever appended (committed, where producers use transactions), 0 when there was none."""
        ...

    def read(self, shard: Shard, after: int, upto: int, limit: int) -> Entries:
        """At most `limit` entries with offsets in (after, upto].

        Raises LostRange when entries following `after` may have been removed: the entry at `after` is gone, or
        `after` is 0 and the shard does not hold everything that was ever appended.
        """
        ...

    def trim(self, shard: Shard, upto: int) -> int:
        """Remove entries before `upto` that every registered reader has passed; the entry at `upto` stays.

        Returns how many entries were removed; 0 where the log's own retention rules decide.
        """
        ...

    def advance_reader(
        self, shard: Shard, reader: str, offset: int, *, since: int | None = None, events: int = 0
    ) -> None:
        """Register `reader`, or say that it has finished `offset`; trimming waits for the slowest one.

        `events` is how many it found after `since`: with them the log keeps count, without them it has to count itself.
        """
        ...

    def forget_reader(self, shard: Shard, reader: str) -> None:
        """Drop a reader that will not come back, so that trimming no longer waits for it."""
        ...

    def readers(self, shard: Shard) -> dict[str, int]:
        """The registered readers and the offset each has finished."""
        ...

    def tally(self, shard: Shard) -> Tally:
        """How many events were appended and how many each registered reader has passed, exactly, blocks included."""
        ...

    def depth(self, shard: Shard) -> int:
        """Entries that the shard holds, read or not."""
        ...

    def oldest(self, shard: Shard) -> int:
        """Offset of the first entry that the shard still holds, 0 when it holds none."""
        ...

    def close(self) -> None:
        """Give back the connections."""
        ...

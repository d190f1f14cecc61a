"""The log on Redis Streams (Redis 7+ or Valkey): a stream key per shard, an entry per message.

An offset is the entry's id as one integer, ms << 20 | seq. Reading asks, in one transaction, for the entry it goes on
from and for what follows, so that a trimmed gap can never be read over: XRANGE alone would return silently what is left.
"""

import uuid
import zlib
from collections.abc import Sequence
from typing import Any

import redis

from fraud_core.errors import LogError, LogUnavailable, LostRange
from fraud_core.log.counting import count_by_reading
from fraud_core.log.pipeline import exchange, pack
from fraud_core.log.protocol import Entries, Entry, Shard, Tally
from fraud_core.log.range_reply import RangeReply, read_range
from fraud_core.log.redis_entries import entries_of, framed_entries
from fraud_core.log.redis_ids import MAX_SEQ, SEQ_ALARM, to_id, to_offset, to_offsets
from fraud_core.log.redis_scripts import ADVANCE, FATE, TRIM
from fraud_core.log.redis_servers import Servers
from fraud_core.log.routing import choose_shards

_PIPELINE = 1_000
_PERHAPS_APPENDED = "Some of the entries may have been appended; the same events may be sent again."
_NO_SUCH_KEY = "no such key"
_MANY = 1_024
"""Entries from which a read takes its reply from the socket in one piece."""


class RedisLog:
    """Implements Log. One instance per thread of work; connections are pooled and opened on demand."""

    def __init__(
        self, url: str, *, namespace: str = "spearhead", shards: int = 1, timeout_s: float = 30.0
    ) -> None:
        self._prefix = f"{namespace}:log"
        self._new_shards = shards
        self._servers = Servers(url, timeout_s)
        self._shards: dict[str, tuple[Shard, ...]] = {}
        self._last_seq: dict[str, int] = {}
        self._bytes_per_entry = 0.0
        """Of the last large read: how much room the next one takes."""

    # -- the interface

    def shards(self, stream: str) -> tuple[Shard, ...]:
        if found := self.existing_shards(stream):
            return found
        key = self._life(stream)
        with self._servers.errors(), self._servers.of(key).pipeline() as pipe:
            pipe.hsetnx(key, "shards", str(self._new_shards))
            pipe.hsetnx(key, "incarnation", uuid.uuid4().hex[:12])
            pipe.execute()
        return self.existing_shards(stream)

    def existing_shards(self, stream: str) -> tuple[Shard, ...]:
        key = self._life(stream)
        with self._servers.errors():
            life = self._servers.of(key).hgetall(key)
        if b"incarnation" not in life or b"shards" not in life:
            return ()
        incarnation, count = life[b"incarnation"].decode(), int(life[b"shards"])
        return tuple(Shard(stream, number, incarnation) for number in range(count))

    def append(
        self,
        stream: str,
        entries: Sequence[Entry],
        keys: Sequence[str] | None = None,
        *,
        shard: int | None = None,
    ) -> list[int]:
        if stream not in self._shards:
            self._shards[stream] = self.shards(stream)
        count = len(self._shards[stream])
        stream_keys = [self._key(stream, number) for number in range(count)]
        chosen = choose_shards(stream, entries, count, shard, keyed=keys is not None)
        if chosen is None:
            chosen = [zlib.crc32(key.encode()) % count for key in keys or ()]
        route = [stream_keys[number] for number in chosen]
        for key in set(route):
            self._check_clock(key)
        offsets: list[int] = []
        for start in range(0, len(entries), _PIPELINE):
            chunk = slice(start, start + _PIPELINE)
            offsets += self._append(route[chunk], entries[chunk])
        for key, offset in zip(route, offsets, strict=True):
            self._last_seq[key] = offset & MAX_SEQ
        return offsets

    def end(self, shard: Shard) -> int:
        # The last id ever given, not the last entry present: what was removed unread must be missed, not overlooked.
        with self._servers.errors():
            try:
                stream = self._at(shard).xinfo_stream(self._key(shard.stream, shard.number))
            except redis.ResponseError as error:
                if _NO_SUCH_KEY not in str(error):
                    raise
                return 0  # nothing was ever appended
        return to_offset(stream["last-generated-id"])

    def read(self, shard: Shard, after: int, upto: int, limit: int) -> Entries:
        key = self._key(shard.stream, shard.number)
        commands: tuple[tuple[Any, ...], ...] = (
            ("EVAL_RO", FATE, 1, key),
            ("XRANGE", key, to_id(after), to_id(after), "COUNT", 1),
            ("XRANGE", key, f"({to_id(after)}", to_id(upto), "COUNT", limit),
        )
        if limit >= _MANY and (reply := self._read_many(shard, commands, limit)) is not None:
            self._check_nothing_lost(shard, after, *reply.before)
            return (
                entries_of(shard, reply.raw, after)
                if reply.raw is not None
                else framed_entries(shard, reply, after)
            )
        with self._servers.errors(), self._at(shard).pipeline() as pipe:
            for command in commands:
                pipe.execute_command(*command)
            fate, first, raw = pipe.execute(raise_on_error=False)
        if isinstance(raw, redis.RedisError):
            raise LogError(f"Reading shard {shard} of the log failed: {raw}.") from raw
        self._check_nothing_lost(shard, after, fate, first)
        return entries_of(shard, raw, after)

    def trim(self, shard: Shard, upto: int) -> int:
        key = self._key(shard.stream, shard.number)
        with self._servers.errors():
            trim = self._at(shard).register_script(TRIM)
            return int(trim(keys=[key, f"{key}:readers"], args=[to_id(upto)]))

    def advance_reader(
        self, shard: Shard, reader: str, offset: int, *, since: int | None = None, events: int = 0
    ) -> None:
        key = self._key(shard.stream, shard.number)
        with self._servers.errors():
            self._at(shard).register_script(ADVANCE)(
                keys=[f"{key}:readers", f"{key}:passed", key, f"{key}:more"],
                args=[reader, to_id(offset), "" if since is None else to_id(since), events],
            )

    def forget_reader(self, shard: Shard, reader: str) -> None:
        key = self._key(shard.stream, shard.number)
        with self._servers.errors():
            self._at(shard).hdel(f"{key}:readers", reader)
            self._at(shard).hdel(f"{key}:passed", reader)

    def readers(self, shard: Shard) -> dict[str, int]:
        with self._servers.errors():
            positions = self._at(shard).hgetall(f"{self._key(shard.stream, shard.number)}:readers")
        return {name.decode(): to_offset(position) for name, position in positions.items()}

    def tally(self, shard: Shard) -> Tally:
        """From counters: entries ever added (Redis counts them) and what blocks hold beyond one event each."""
        key = self._key(shard.stream, shard.number)
        with self._servers.errors(), self._at(shard).pipeline() as pipe:
            pipe.xinfo_stream(key)
            pipe.get(f"{key}:more")
            pipe.hgetall(f"{key}:readers")
            pipe.hgetall(f"{key}:passed")
            info, more, positions, marks = pipe.execute(raise_on_error=False)
        if _is_absent(info):
            return Tally(0, {name.decode(): 0 for name in positions})
        appended, end = int(info["entries-added"]) + int(more or 0), to_offset(info["last-generated-id"])
        passed: dict[str, int] = {}
        for name, position in positions.items():
            entry_id, _, count = marks.get(name, b"0-0 0").partition(b" ")
            if entry_id == position:
                passed[name.decode()] = int(count)
            else:  # registered in the middle, or by two runs at once: count what it has before it, once
                offset = to_offset(position)
                counted = appended - count_by_reading(self, shard, offset, end)
                with self._servers.errors():
                    self._at(shard).hset(f"{key}:passed", name, b"%s %d" % (position, max(0, counted)))
                passed[name.decode()] = max(0, counted)
        return Tally(appended, passed)

    def depth(self, shard: Shard) -> int:
        with self._servers.errors():
            return int(self._at(shard).xlen(self._key(shard.stream, shard.number)))

    def oldest(self, shard: Shard) -> int:
        with self._servers.errors():
            first = self._at(shard).execute_command(
                "XRANGE", self._key(shard.stream, shard.number), "-", "+", "COUNT", 1
            )
        return to_offset(first[0][0]) if first else 0

    def close(self) -> None:
        self._servers.close()

    def _append(self, route: Sequence[str], entries: Sequence[Entry]) -> list[int]:
        """One exchange with each server that keeps some of the keys."""
        offsets = [0] * len(entries)
        with self._servers.errors(_PERHAPS_APPENDED):
            for client, rows in self._servers.divide(route):
                keys = route if rows is None else [route[row] for row in rows]
                chosen = entries if rows is None else [entries[row] for row in rows]
                more = _more_than_entries(keys, chosen)
                with self._servers.connection(client) as connection:
                    replies = exchange(connection, pack(keys, chosen, more), len(more) + len(chosen))
                found: list[int] = to_offsets(replies[len(more) :]).tolist()
                if rows is None:
                    return found
                for row, offset in zip(rows, found, strict=True):
                    offsets[row] = offset
        return offsets

    def _read_many(self, shard: Shard, commands: Sequence[Sequence[Any]], limit: int) -> RangeReply | None:
        with self._servers.errors(), self._servers.connection(self._at(shard)) as connection:
            reply = read_range(connection, commands, int(1.1 * self._bytes_per_entry * limit))
        if reply is not None and len(reply.ms):
            self._bytes_per_entry = reply.size / len(reply.ms)
        return reply

    # -- safety

    def probe(self) -> None:
        """Refuse a server that cannot be reached, is too old, or may evict what was not read."""
        self._servers.check()

    def _check_nothing_lost(self, shard: Shard, after: int, fate: Any, first: Any) -> None:
        """`fate` is what _FATE answers (an error where there is no such key), `first` the entry at `after`, if it is there."""
        remedy = (
            "Find what removed them (XTRIM, XDEL, an older backup), restore the log from its append-only file or have the "
            "producers send that range again; nothing was skipped."
        )
        if after and not first:
            oldest, end = self.oldest(shard), self.end(shard)
            held = f"from {to_id(oldest)} to {to_id(end)}" if oldest else "nothing"
            raise LostRange(
                f"Shard {shard} was read up to entry {to_id(after)}, which must still be in the log; it holds {held}. "
                f"Entries after {to_id(after)} and before {to_id(oldest) if oldest else 'now'} may be lost. {remedy}"
            )
        if _is_absent(fate):
            return
        added, present, deleted = int(fate[0]), int(fate[1]), to_offset(fate[2])
        if not after and added != present:
            raise LostRange(
                f"Shard {shard} is to be read from its beginning: all of its {added} entries were expected, {present} are "
                f"there. Entries before {to_id(self.oldest(shard))} were removed unread. {remedy}"
            )
        if (
            deleted > after
        ):  # trimming leaves no such mark, deleting does: the highest id that was ever deleted
            raise LostRange(
                f"Shard {shard} was read up to entry {to_id(after)}, and every entry after it must still be in the log; entries up "
                f"to {to_id(deleted)} were deleted one by one (XDEL), at least that one. {remedy}"
            )

    def _check_clock(self, key: str) -> None:
        """While the server's clock stands before its last id, ids differ by seq alone: stop before it overflows."""
        if self._last_seq.get(key, 0) < SEQ_ALARM:
            return
        with self._servers.errors():
            client = self._servers.of(key)
            last = client.xrevrange(key, count=1)
            seconds, micros = client.time()
        ms, seq = (int(part) for part in last[0][0].split(b"-")) if last else (0, 0)
        if seq >= SEQ_ALARM and seconds * 1000 + micros // 1000 <= ms:
            raise LogUnavailable(
                f"The clock of Redis at {self._servers.address} went back behind the last entry of {key}; {seq} entries share "
                f"its millisecond and {MAX_SEQ} are possible. Append again when the clock has caught up."
            )
        self._last_seq[key] = 0

    def _key(self, stream: str, number: int) -> str:
        return f"{self._prefix}:{{{stream}.{number}}}"

    def _life(self, stream: str) -> str:
        return f"{self._prefix}:{{{stream}}}:life"

    def _at(self, shard: Shard) -> Any:
        """A client of the server that keeps the shard."""
        return self._servers.of(self._key(shard.stream, shard.number))


def _is_absent(reply: Any) -> bool:
    """Whether it says that there is no such key: nothing was ever appended. Any other error is raised."""
    if not isinstance(reply, redis.RedisError):
        return False
    if _NO_SUCH_KEY in str(reply):
        return True
    raise LogError(f"Redis refused to tell of a shard of the log: {reply}.") from reply


def _more_than_entries(route: Sequence[str], entries: Sequence[Entry]) -> dict[str, int]:
    """By key, how many more events than entries are to be appended; keys without any difference are absent."""
    more: dict[str, int] = {}
    for key, entry in zip(route, entries, strict=True):
        if entry.events != 1:
            more[key] = more.get(key, 0) + entry.events - 1
    return more

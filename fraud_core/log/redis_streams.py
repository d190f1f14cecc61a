"""The log on Redis Streams (Redis 7+ or Valkey): a stream key per shard, an entry per message.

An offset is the entry's id as one integer, ms << 20 | seq. Reading asks, in one transaction, for the entry it goes on
from and for what follows, so that a trimmed gap can never be read over: XRANGE alone would return silently what is left.
"""

import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fraud_core.errors import LogError, LogUnavailable, LostRange
from fraud_core.log.counting import count_by_reading
from fraud_core.log.pipeline import exchange, pack
from fraud_core.log.protocol import Entries, Entry, Shard, Tally
from fraud_core.log.range_reply import RangeReply, read_range
from fraud_core.log.redis_entries import entries_of, framed_entries
from fraud_core.log.redis_ids import MAX_SEQ, SEQ_ALARM, to_id, to_offset, to_offsets
from fraud_core.log.redis_scripts import ADVANCE, FATE, TRIM
from fraud_core.redis_connection import connect_redis

_PIPELINE = 1_000
_MANY = 1_024
"""Entries from which a read takes its reply from the socket in one piece."""


class RedisLog:
    """Implements Log. One instance per thread of work; connections are pooled and opened on demand."""

    def __init__(
        self, url: str, *, namespace: str = "spearhead", shards: int = 1, timeout_s: float = 30.0
    ) -> None:
        self._url = url
        self._prefix = f"{namespace}:log"
        self._new_shards = shards
        # Any: the client's annotations allow str or bytes for every reply; this one answers bytes.
        # No retries inside the client: a retried XADD would append twice without anybody knowing.
        self._client: Any = connect_redis(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=min(timeout_s, 5.0),
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        # The raw reply of XRANGE, not dictionaries: half the cost of reading.
        self._client.response_callbacks.pop("XRANGE", None)
        self._trim = self._client.register_script(TRIM)
        self._advance = self._client.register_script(ADVANCE)
        self._shards: dict[str, tuple[Shard, ...]] = {}
        self._last_seq: dict[str, int] = {}
        self._bytes_per_entry = 0.0
        """Of the last large read: how much room the next one takes."""

    # -- the interface

    def shards(self, stream: str) -> tuple[Shard, ...]:
        key = f"{self._prefix}:{{{stream}}}:life"
        with self._errors():
            life = self._client.hgetall(key)
            if b"incarnation" not in life or b"shards" not in life:
                with self._client.pipeline() as pipe:
                    pipe.hsetnx(key, "shards", str(self._new_shards))
                    pipe.hsetnx(key, "incarnation", uuid.uuid4().hex[:12])
                    pipe.hgetall(key)
                    life = pipe.execute()[-1]
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
        if shard is not None and not 0 <= shard < count:
            raise LogError(
                f"A shard of {stream} below {count} was expected, found {shard}: the stream has {count}."
            )
        if shard is not None or count == 1:
            route = [stream_keys[shard or 0]] * len(entries)
        elif keys is None:  # equal payloads together, so that a repeated event meets its first copy
            route = [stream_keys[zlib.crc32(entry.payload) % count] for entry in entries]
        else:
            route = [stream_keys[zlib.crc32(key.encode()) % count] for key in keys]
        for key in set(route):
            self._check_clock(key)
        offsets: list[int] = []
        with self._errors("Some of the entries may have been appended; the same events may be sent again."):
            for start in range(0, len(entries), _PIPELINE):
                chunk = slice(start, start + _PIPELINE)
                more = _more_than_entries(route[chunk], entries[chunk])
                commands = pack(route[chunk], entries[chunk], more)
                with self._connection() as connection:
                    replies = exchange(connection, commands, len(more) + len(entries[chunk]))
                offsets += to_offsets(replies[len(more) :]).tolist()
        for key, offset in zip(route, offsets, strict=True):
            self._last_seq[key] = offset & MAX_SEQ
        return offsets

    def end(self, shard: Shard) -> int:
        # The last id ever given, not the last entry present: what was removed unread must be missed, not overlooked.
        with self._errors():
            try:
                stream = self._client.xinfo_stream(self._key(shard.stream, shard.number))
            except redis.ResponseError:  # no such key: nothing was ever appended
                return 0
        return to_offset(stream["last-generated-id"])

    def read(self, shard: Shard, after: int, upto: int, limit: int) -> Entries:
        key = self._key(shard.stream, shard.number)
        commands: tuple[tuple[Any, ...], ...] = (
            ("EVAL_RO", FATE, 1, key),
            ("XRANGE", key, to_id(after), to_id(after), "COUNT", 1),
            ("XRANGE", key, f"({to_id(after)}", to_id(upto), "COUNT", limit),
        )
        if limit >= _MANY and (reply := self._read_many(commands, limit)) is not None:
            self._check_nothing_lost(shard, after, *reply.before)
            return (
                entries_of(shard, reply.raw, after)
                if reply.raw is not None
                else framed_entries(shard, reply, after)
            )
        with self._errors(), self._client.pipeline() as pipe:
            for command in commands:
                pipe.execute_command(*command)
            fate, first, raw = pipe.execute(raise_on_error=False)
        if isinstance(raw, redis.RedisError):
            raise LogError(f"Reading shard {shard} of the log failed: {raw}.") from raw
        self._check_nothing_lost(shard, after, fate, first)
        return entries_of(shard, raw, after)

    def trim(self, shard: Shard, upto: int) -> int:
        key = self._key(shard.stream, shard.number)
        with self._errors():
            return int(self._trim(keys=[key, f"{key}:readers"], args=[to_id(upto)]))

    def advance_reader(
        self, shard: Shard, reader: str, offset: int, *, since: int | None = None, events: int = 0
    ) -> None:
        key = self._key(shard.stream, shard.number)
        with self._errors():
            self._advance(
                keys=[f"{key}:readers", f"{key}:passed", key, f"{key}:more"],
                args=[reader, to_id(offset), "" if since is None else to_id(since), events],
            )

    def forget_reader(self, shard: Shard, reader: str) -> None:
        key = self._key(shard.stream, shard.number)
        with self._errors():
            self._client.hdel(f"{key}:readers", reader)
            self._client.hdel(f"{key}:passed", reader)

    def readers(self, shard: Shard) -> dict[str, int]:
        with self._errors():
            positions = self._client.hgetall(f"{self._key(shard.stream, shard.number)}:readers")
        return {name.decode(): to_offset(position) for name, position in positions.items()}

    def tally(self, shard: Shard) -> Tally:
        """From counters: entries ever added (Redis counts them) and what blocks hold beyond one event each."""
        key = self._key(shard.stream, shard.number)
        with self._errors(), self._client.pipeline() as pipe:
            pipe.xinfo_stream(key)
            pipe.get(f"{key}:more")
            pipe.hgetall(f"{key}:readers")
            pipe.hgetall(f"{key}:passed")
            info, more, positions, marks = pipe.execute(raise_on_error=False)
        if isinstance(info, redis.RedisError):  # no such key: nothing was ever appended
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
                with self._errors():
                    self._client.hset(f"{key}:passed", name, b"%s %d" % (position, max(0, counted)))
                passed[name.decode()] = max(0, counted)
        return Tally(appended, passed)

    def depth(self, shard: Shard) -> int:
        with self._errors():
            return int(self._client.xlen(self._key(shard.stream, shard.number)))

    def oldest(self, shard: Shard) -> int:
        with self._errors():
            first = self._client.execute_command(
                "XRANGE", self._key(shard.stream, shard.number), "-", "+", "COUNT", 1
            )
        return to_offset(first[0][0]) if first else 0

    def close(self) -> None:
        self._client.close()

    def _read_many(self, commands: Sequence[Sequence[Any]], limit: int) -> RangeReply | None:
        with self._errors(), self._connection() as connection:
            reply = read_range(connection, commands, int(1.1 * self._bytes_per_entry * limit))
        if reply is not None and len(reply.ms):
            self._bytes_per_entry = reply.size / len(reply.ms)
        return reply

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        pool = self._client.connection_pool
        connection = pool.get_connection()
        try:
            yield connection
        finally:
            pool.release(connection)

    # -- safety

    def probe(self) -> None:
        """Refuse a server that cannot be reached, is too old, or may evict what was not read."""
        with self._errors():
            memory, server = self._client.info("memory"), self._client.info("server")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise LogError(
                f"Redis at {self._address} must never evict: maxmemory-policy noeviction was expected, found {policy}. "
                "Set it in the server's configuration (CONFIG SET maxmemory-policy noeviction)."
            )
        version = str(server.get("redis_version", "0"))
        if int(version.split(".", maxsplit=1)[0]) < 7:
            raise LogError(
                f"Redis 7 or Valkey was expected at {self._address}, found version {version}: upgrade it."
            )

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
        if isinstance(fate, redis.RedisError):  # no such key: nothing was ever appended
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
        with self._errors():
            last = self._client.xrevrange(key, count=1)
            seconds, micros = self._client.time()
        ms, seq = (int(part) for part in last[0][0].split(b"-")) if last else (0, 0)
        if seq >= SEQ_ALARM and seconds * 1000 + micros // 1000 <= ms:
            raise LogUnavailable(
                f"The clock of Redis at {self._address} went back behind the last entry of {key}; {seq} entries share "
                f"its millisecond and {MAX_SEQ} are possible. Append again when the clock has caught up."
            )
        self._last_seq[key] = 0

    def _key(self, stream: str, number: int) -> str:
        return f"{self._prefix}:{{{stream}.{number}}}"

    @property
    def _address(self) -> str:
        return self._url.rsplit("@", 1)[-1].rsplit("://", 1)[-1]

    @contextmanager
    def _errors(self, consequence: str = "Nothing was lost; try again when it is back.") -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise LogUnavailable(
                f"Redis was expected to answer at {self._address}: {error}. {consequence} "
                "Start it (`spearhead up`), or set SPEARHEAD_REDIS_URL to where it is."
            ) from error
        except redis.OutOfMemoryError as error:
            raise LogUnavailable(
                f"Redis at {self._address} has no memory left and, rightly, evicts nothing: {error}. {consequence} "
                "Give it more memory (maxmemory), or let the readers catch up: what they have passed is trimmed."
            ) from error
        except redis.RedisError as error:
            raise LogError(f"Redis at {self._address} refused a command of the log: {error}.") from error


def _more_than_entries(route: Sequence[str], entries: Sequence[Entry]) -> dict[str, int]:
    """By key, how many more events than entries are to be appended; keys without any difference are absent."""
    more: dict[str, int] = {}
    for key, entry in zip(route, entries, strict=True):
        if entry.events != 1:
            more[key] = more.get(key, 0) + entry.events - 1
    return more

"""The log on Apache Kafka: a topic per stream, a partition per shard, a message per entry.

An offset here is Kafka's *next* offset: the message with Kafka's offset k has offset k + 1, and 0 stands before the first.
Which place is read is the caller's (Delta's) matter: partitions are assigned by offset, and no group's position is believed.
Only committed messages are read. A topic that was deleted and made again has another id, and is another life of the log.
Append times are the broker's (LogAppendTime): every reader and every retry must judge by the same clock.
"""

import itertools
import zlib
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.errors import LogError, LostRange
from fraud_core.log.counting import TallyByReading
from fraud_core.log.framing import (
    JSON_FIELD,
    from_fields,
)
from fraud_core.log.kafka_appender import FRAMING_HEADER, HEADER_OF, Appender
from fraud_core.log.kafka_connection import Connection
from fraud_core.log.kafka_positions import Positions
from fraud_core.log.kafka_reader import OutOfRange, PartitionReader
from fraud_core.log.protocol import BLOCK, JSON, NO_VIRTUAL_TIME, Entries, Entry, Kind, Shard, Tally

_OURS: Final = "spearhead-"
_FIELD_OF: Final = {header: field for field, header in HEADER_OF.items()}
_APPEND_TIME: Final = 2


class KafkaLog:
    """Implements Log. One instance per thread of work; `append` alone may be called from several threads."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str = "spearhead",
        trim: bool = False,
        append_timeout_s: float | None = None,
    ) -> None:
        self._append_timeout_s = append_timeout_s
        self._connection, self._namespace, self._may_trim = connection, namespace, trim
        self._positions = Positions(connection, namespace)
        self._appender: Appender | None = None
        self._readers: dict[Shard, PartitionReader] = {}
        self._counts: dict[str, int] = {}
        self._tallies: dict[Shard, TallyByReading] = {}

    # -- the interface

    def shards(self, stream: str) -> tuple[Shard, ...]:
        life, count, _ = self._describe(stream)
        return tuple(Shard(stream, number, life) for number in range(count))

    def append(
        self,
        stream: str,
        entries: Sequence[Entry],
        keys: Sequence[str] | None = None,
        *,
        shard: int | None = None,
    ) -> list[int]:
        return self.append_soon(stream, entries, keys, shard=shard).result()

    def append_soon(
        self,
        stream: str,
        entries: Sequence[Entry],
        keys: Sequence[str] | None = None,
        *,
        shard: int | None = None,
    ) -> "Future[list[int]]":
        """As `append`, for whoever cannot wait in a thread: the offsets come with the future. The first call to a stream
        asks the broker about it, and waits for the answer."""
        if stream not in self._counts:
            _, self._counts[stream], _ = self._describe(stream)
        count = self._counts[stream]
        if shard is not None and not 0 <= shard < count:
            raise LogError(
                f"A shard of {stream} below {count} was expected, found {shard}: the topic has {count} partitions."
            )
        partitions: list[int] | None = None
        if shard is not None or count == 1:
            partitions = [shard or 0] * len(entries)
        elif keys is None:  # equal payloads together, so that a repeated event meets its first copy
            partitions = [zlib.crc32(entry.payload) % count for entry in entries]
        return self._open_appender().submit(self.topic(stream), entries, keys, partitions)

    def end(self, shard: Shard) -> int:
        from confluent_kafka.admin import OffsetSpec

        return self._offset(shard, OffsetSpec.latest())

    def read(self, shard: Shard, after: int, upto: int, limit: int) -> Entries:
        if upto <= after or limit <= 0:
            return _entries(shard, [], after)
        reader = self._readers.get(shard)
        if reader is None:
            reader = self._readers[shard] = PartitionReader(
                self._connection, self.topic(shard.stream), shard.number, f"{self._namespace}.reader"
            )
        try:
            messages, end = reader.read(after, upto, limit)
            # What was fetched was fetched before this: if the topic is the same now, it came from this life.
            self._check_life(shard)
        except BaseException as error:
            self._readers.pop(shard).close()
            if isinstance(error, OutOfRange):
                self._check_life(shard)
                raise self._lost(shard, after) from None
            raise
        return _entries(shard, messages, end)

    def trim(self, shard: Shard, upto: int) -> int:
        """Only where the settings allow it; the topic's own retention rules otherwise."""
        if not self._may_trim:
            return 0
        from confluent_kafka import TopicPartition

        first = self._first(shard)
        kept = min([upto, *self.readers(shard).values()]) - 1
        if kept <= first:
            return 0
        place = TopicPartition(self.topic(shard.stream), shard.number, kept)

        def ask() -> int:
            answers = self._connection.admin.delete_records(
                [place], request_timeout=self._connection.timeout_s
            )
            return int(answers[place].result().low_watermark)

        return self._connection.ask("delete records (DELETE on the topic is needed)", ask) - first

    def advance_reader(
        self,
        shard: Shard,
        reader: str,
        offset: int,
        *,
        since: int | None = None,  # noqa: ARG002 - for logs that count as they go; this one reads what it counts
        events: int = 0,  # noqa: ARG002
    ) -> None:
        self._positions.advance(self.topic(shard.stream), shard, reader, offset)

    def forget_reader(self, shard: Shard, reader: str) -> None:
        self._positions.forget(self.topic(shard.stream), shard, reader)

    def readers(self, shard: Shard) -> dict[str, int]:
        return self._positions.all(self.topic(shard.stream), shard)

    def tally(self, shard: Shard) -> Tally:
        """Counts by reading, each entry once for as long as this instance lives: Kafka itself counts offsets, not events."""
        return self._tallies.setdefault(shard, TallyByReading()).tally(self, shard)

    def depth(self, shard: Shard) -> int:
        """Offsets that the shard holds: at most so many entries, for markers and gaps count too."""
        return self.end(shard) - self._first(shard)

    def oldest(self, shard: Shard) -> int:
        first = self._first(shard)
        return first + 1 if self.end(shard) > first else 0

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        if self._appender is not None:
            self._appender.close()
            self._appender = None

    # -- safety

    def topic(self, stream: str) -> str:
        """The topic of a stream."""
        return f"{self._namespace}.{stream}"

    def probe(self) -> None:
        """Refuse a broker that cannot be reached, and topics whose times are not the broker's or that lose what was read."""
        with self._connection.errors("list its topics"):
            listed = self._connection.admin.list_topics(timeout=min(self._connection.timeout_s, 5.0)).topics
        ours = sorted(name for name in listed if name.startswith(f"{self._namespace}."))
        for topic, settings in self.topic_settings(ours).items():
            if settings.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
                raise _not_append_time(topic, self._connection.servers)

    def topic_settings(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings of topics; of those that may not be asked, none."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import ConfigResource

        if not topics:
            return {}
        asked = self._connection.admin.describe_configs(
            [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics],
            request_timeout=self._connection.timeout_s,
        )
        found: dict[str, dict[str, str]] = {}
        for resource, answer in asked.items():
            try:
                found[resource.name] = {name: entry.value for name, entry in answer.result().items()}
            except KafkaException as error:
                if error.args[0].name() not in ("TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_TOPIC_OR_PART"):
                    raise self._connection.translated(error.args[0], "describe its topics") from error
        return found

    def _open_appender(self) -> Appender:
        if self._appender is None or self._appender.broken:
            self._appender = Appender(self._connection, self._append_timeout_s)
        return self._appender

    def replicas(self, stream: str) -> int:
        """Copies of the partition that has the fewest."""
        return self._describe(stream)[2]

    def _describe(self, stream: str) -> tuple[str, int, int]:
        """The topic's id, which is the life of the log, how many partitions it has, and the fewest copies of one."""
        from confluent_kafka import KafkaException, TopicCollection

        topic = self.topic(stream)
        try:
            with self._connection.errors(f"describe the topic {topic}"):
                asked = self._connection.admin.describe_topics(
                    TopicCollection([topic]), request_timeout=self._connection.timeout_s
                )
                found = asked[topic].result()
        except LogError as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and cause.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                raise LogError(
                    f"The topic {topic} was expected at {self._connection.servers}; there is none. Create it: `spearhead log create`, or "
                    "kafka-topics.sh "
                    f"--bootstrap-server {self._connection.servers} --create --topic {topic} --partitions 3 "
                    "--config message.timestamp.type=LogAppendTime"
                ) from error
            raise
        high, low = found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits()
        mask = (1 << 64) - 1
        copies = min(len(partition.replicas) for partition in found.partitions)
        return f"{high & mask:016x}{low & mask:016x}", len(found.partitions), copies

    def _check_life(self, shard: Shard) -> None:
        life, _, _ = self._describe(shard.stream)
        if life != shard.incarnation:
            raise LostRange(
                f"The topic {self.topic(shard.stream)} was deleted and created again while shard {shard} was read: its id was "
                f"expected to be {shard.incarnation}, found {life}. What the old one held and had not been read is lost: have the "
                "producers send it again. The next run reads the new topic from its beginning; nothing was skipped in it."
            )

    def _lost(self, shard: Shard, after: int) -> LostRange:
        first, end = self._first(shard), self.end(shard)
        if after > end:
            return LostRange(
                f"Shard {shard} was read up to offset {after}, which must still be in the log; the log ends at {end}. A broker "
                "that had not all of it became leader (unclean.leader.election.enable must be false): have the producers send "
                "again what is missing, into a new topic. Nothing was skipped."
            )
        return LostRange(
            f"Shard {shard} was read up to offset {after}; {self.topic(shard.stream)} partition {shard.number} begins at {first}: "
            f"Kafka's offsets {after} to {first - 1} were removed before they were read (retention.ms, retention.bytes or "
            "DeleteRecords). Have the producers send that range again, and give the topic a longer retention; nothing was skipped."
        )

    def _first(self, shard: Shard) -> int:
        from confluent_kafka.admin import OffsetSpec

        return self._offset(shard, OffsetSpec.earliest())

    def _offset(self, shard: Shard, which: Any) -> int:
        from confluent_kafka import IsolationLevel, TopicPartition

        place = TopicPartition(self.topic(shard.stream), shard.number)

        def ask() -> int:
            asked = self._connection.admin.list_offsets(
                {place: which},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=self._connection.timeout_s,
            )
            return int(asked[place].result().offset)

        return self._connection.ask(f"tell the offsets of {shard}", ask)


def _entries(shard: Shard, messages: list[Any], end: int) -> Entries:
    from confluent_kafka import Message

    count = len(messages)
    offsets = np.fromiter(map(Message.offset, messages), dtype=np.int64, count=count) + 1
    times = np.fromiter(
        itertools.chain.from_iterable(map(Message.timestamp, messages)), dtype=np.int64, count=2 * count
    ).reshape(count, 2)
    if (times[:, 0] != _APPEND_TIME).any():
        raise LogError(
            f"Offset {int(offsets[times[:, 0] != _APPEND_TIME][0])} of {shard} carries its producer's time; the broker's append "
            "time was expected (message.timestamp.type=LogAppendTime), for verdicts rest on it. It was appended before the topic "
            "was set so: create a new topic with that setting and send its events there. Nothing was skipped."
        )
    payloads: list[bytes] = list(map(Message.value, messages))
    kinds: list[Kind] = [JSON] * count
    virtual: NDArray[np.int64] = np.full(count, NO_VIRTUAL_TIME, dtype=np.int64)
    replay_of: dict[int, str] = {}
    held: dict[int, int] = {}
    if None in payloads:  # a message without a value holds no event: it is kept as what cannot be read
        payloads = [payload or b"" for payload in payloads]
    headers = list(map(Message.headers, messages))
    if any(headers):
        for row, named in enumerate(headers):
            if named:
                fields = _fields(named, payloads[row])
                found = from_fields(fields)
                kinds[row], payloads[row], virtual[row] = found.kind, found.payload, found.virtual_ms
                if found.replay_of is not None:
                    replay_of[row] = found.replay_of
                if found.kind == BLOCK:
                    held[row] = found.events
    return Entries(
        shard=shard,
        offsets=offsets,
        append_ms=times[:, 1].copy(),
        kinds=kinds,
        payloads=payloads,
        virtual_ms=virtual,
        end=end,
        replay_of=replay_of,
        held=held,
    )


def _fields(headers: list[tuple[str, bytes | None]], payload: bytes) -> list[bytes]:
    """Our headers as the fields of an entry; those of others (tracing, say) are no matter of ours."""
    framing, fields = JSON_FIELD, list[bytes]()
    for name, value in headers:
        if name == FRAMING_HEADER:
            framing = value or b""
        elif name.startswith(_OURS):
            fields += [_FIELD_OF.get(name, name.encode()), value or b""]
    return [framing, payload, *fields]


def _not_append_time(topic: str, servers: str) -> LogError:
    return LogError(
        f"The topic {topic} must carry the broker's append times: message.timestamp.type=LogAppendTime was expected, found "
        'CreateTime. Verdicts such as "in the future" rest on them. Before anything is sent to it: kafka-configs.sh '
        f"--bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} --add-config "
        "message.timestamp.type=LogAppendTime"
    )

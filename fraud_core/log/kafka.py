"""The log on Apache Kafka: a topic per stream, a partition per shard, a message per entry.

An offset here is Kafka's *next* offset: the message with Kafka's offset k has offset k + 1, and 0 stands before the first.
Which place is read is the caller's (Delta's) matter: partitions are assigned by offset, and no group's position is believed.
Only committed messages are read. A topic that was deleted and made again has another id, and is another life of the log.
Append times are the broker's (LogAppendTime): every reader and every retry must judge by the same clock.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from fraud_core.errors import LostRange
from fraud_core.log.counting import TallyByReading
from fraud_core.log.kafka_appender import Appender
from fraud_core.log.kafka_connection import Connection
from fraud_core.log.kafka_entries import entries_of
from fraud_core.log.kafka_positions import Positions
from fraud_core.log.kafka_reader import OutOfRange, PartitionReader
from fraud_core.log.kafka_topics import describe, not_append_time, topic_settings
from fraud_core.log.protocol import Entries, Entry, Shard, Tally
from fraud_core.log.routing import choose_shards


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
        self._opening = threading.Lock()
        self._readers: dict[Shard, PartitionReader] = {}
        self._counts: dict[str, int] = {}
        self._tallies: dict[Shard, TallyByReading] = {}

    # -- the interface

    def shards(self, stream: str) -> tuple[Shard, ...]:
        topic = describe(self._connection, self.topic(stream))
        return tuple(Shard(stream, number, topic.life) for number in range(topic.partitions))

    def existing_shards(self, stream: str) -> tuple[Shard, ...]:
        """A topic is made by people: where there is none, that is a mistake as much as for whoever reads it."""
        return self.shards(stream)

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
            self._counts[stream] = describe(self._connection, self.topic(stream)).partitions
        count = self._counts[stream]
        partitions = choose_shards(stream, entries, count, shard, keyed=keys is not None)
        return self._open_appender().submit(self.topic(stream), entries, keys, partitions)

    def end(self, shard: Shard) -> int:
        from confluent_kafka.admin import OffsetSpec

        return self._offset(shard, OffsetSpec.latest())

    def read(self, shard: Shard, after: int, upto: int, limit: int) -> Entries:
        if upto <= after or limit <= 0:
            return entries_of(shard, [], after)
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
        return entries_of(shard, messages, end)

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
        for topic, settings in topic_settings(self._connection, ours).items():
            if settings.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
                raise not_append_time(topic, self._connection.servers)

    def answers(self, stream: str, timeout_s: float) -> bool:
        """Whether the brokers answer within `timeout_s`, and every shard of the stream has a leader to append to."""
        from confluent_kafka import KafkaException

        name = self.topic(stream)
        try:
            topic = self._connection.admin.list_topics(name, timeout=timeout_s).topics[name]
        except KafkaException:
            return False
        return topic.error is None and all(each.leader >= 0 for each in topic.partitions.values())

    def topic_settings(self, streams: Sequence[str]) -> dict[str, dict[str, str]]:
        """The settings of streams' topics, by topic; of those that may not be asked, none."""
        return topic_settings(self._connection, [self.topic(stream) for stream in streams])

    def _open_appender(self) -> Appender:
        with self._opening:  # of two that came at once, one would be left open, held by nobody
            if self._appender is None or self._appender.broken:  # a broken one ends by itself
                self._appender = Appender(self._connection, self._append_timeout_s)
            return self._appender

    def replicas(self, stream: str) -> int:
        """Copies of the partition that has the fewest."""
        return describe(self._connection, self.topic(stream)).replicas

    def _check_life(self, shard: Shard) -> None:
        life = describe(self._connection, self.topic(shard.stream)).life
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

"""Readers' positions, kept as the committed offsets of consumer groups named <namespace>.<reader>.

So the lag tools of any Kafka show them, and no other store has to live. They are told, never believed: reading goes on from
where Delta says. An offset carries the life of the topic as its metadata; one of another life counts for nothing.
"""

from typing import Any, Final

from fraud_core.log.kafka_connection import Connection
from fraud_core.log.protocol import Shard

_FORGOTTEN: Final = "forgotten"


class Positions:
    """The registered readers of a log."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection, self._prefix = connection, f"{namespace}."
        self._known: dict[tuple[str, Shard], int] = {}

    def advance(self, topic: str, shard: Shard, reader: str, offset: int) -> None:
        """Register a reader or move it forward, never back."""
        known = self._known.get((reader, shard))
        if known is None:
            known = self._committed([self._prefix + reader], topic, shard).get(reader, -1)
        if offset > known:
            self._commit(topic, shard, reader, offset, shard.incarnation)
            known = offset
        self._known[reader, shard] = known

    def forget(self, topic: str, shard: Shard, reader: str) -> None:
        """Drop a reader's position."""
        self._known.pop((reader, shard), None)
        if reader in self._committed([self._prefix + reader], topic, shard):
            self._commit(topic, shard, reader, 0, _FORGOTTEN)

    def all(self, topic: str, shard: Shard) -> dict[str, int]:
        """Reader to position."""
        listed = self._connection.ask(
            "list the consumer groups (DESCRIBE on them is needed)",
            lambda: self._connection.admin.list_consumer_groups(
                request_timeout=self._connection.timeout_s
            ).result(),
        )
        groups = [each.group_id for each in listed.valid if each.group_id.startswith(self._prefix)]
        return self._committed([name for name in groups if "." not in self._reader(name)], topic, shard)

    def _reader(self, group: str) -> str:
        return group.removeprefix(self._prefix)

    def _committed(self, groups: list[str], topic: str, shard: Shard) -> dict[str, int]:
        from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

        def ask() -> list[Any]:
            asked = [
                self._connection.admin.list_consumer_group_offsets(
                    [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, shard.number)])],
                    request_timeout=self._connection.timeout_s,
                )[group]
                for group in groups
            ]
            return [answer.result().topic_partitions[0] for answer in asked]

        places = self._connection.ask("read the offsets of a consumer group", ask)
        return {
            self._reader(group): place.offset
            for group, place in zip(groups, places, strict=True)
            if place.offset >= 0 and place.metadata == shard.incarnation
        }

    def _commit(self, topic: str, shard: Shard, reader: str, offset: int, metadata: str) -> None:
        from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

        group = self._prefix + reader
        place = TopicPartition(topic, shard.number, offset, metadata)

        def ask() -> None:
            self._connection.admin.alter_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, [place])], request_timeout=self._connection.timeout_s
            )[group].result()

        self._connection.ask(f"commit the offset of the consumer group {group}", ask)

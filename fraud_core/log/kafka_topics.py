"""The topics that a log on Kafka needs, made as it needs them."""

import time
from collections.abc import Sequence
from typing import Final

from fraud_core.errors import LogError
from fraud_core.log.kafka_connection import Connection

STREAMS: Final = ("transactions", "labels", "decisions")
_KNOWN_S: Final = 20.0
_PAUSE_S: Final = 0.05
APPEND_TIME: Final = {"message.timestamp.type": "LogAppendTime"}


def create_topics(
    connection: Connection,
    topics: Sequence[str],
    *,
    partitions: int,
    replication: int = -1,
    settings: dict[str, str] | None = None,
) -> list[str]:
    """Create those that are missing, with the broker's append times; -1 is the broker's own replication factor.

    Returns the names of the new ones. Raises LogError when the broker refuses.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import NewTopic

    wanted = [
        NewTopic(topic, partitions, replication, config=APPEND_TIME | (settings or {})) for topic in topics
    ]
    made: list[str] = []
    for topic, answer in connection.admin.create_topics(wanted, request_timeout=connection.timeout_s).items():
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].name() == "TOPIC_ALREADY_EXISTS":
                continue
            found = connection.translated(error.args[0], f"create the topic {topic}")
            raise LogError(f"{topic} was not created: {error.args[0].str()}. {found}") from error
        made.append(topic)
    _await_known(connection, made)
    return made


def _await_known(connection: Connection, topics: Sequence[str]) -> None:
    """Brokers learn of a new topic a moment after it was made."""
    from confluent_kafka import KafkaException, TopicCollection

    deadline = time.monotonic() + _KNOWN_S
    for topic in topics:
        while True:
            try:
                asked = connection.admin.describe_topics(
                    TopicCollection([topic]), request_timeout=connection.timeout_s
                )
                asked[topic].result()
                break
            except KafkaException as error:
                if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART" or time.monotonic() > deadline:
                    raise connection.translated(error.args[0], f"describe the topic {topic}") from error
            time.sleep(_PAUSE_S)

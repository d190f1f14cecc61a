"""The topics that a log on Kafka needs, made as it needs them."""

from collections.abc import Sequence
from typing import Final

from fraud_core.errors import LogError
from fraud_core.log.kafka_connection import Connection

STREAMS: Final = ("transactions", "labels", "decisions")
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
    return made

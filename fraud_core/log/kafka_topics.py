"""The topics of a log on Kafka: made as it needs them, and what the brokers say of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fraud_core.errors import LogError
from fraud_core.log.kafka_connection import Connection

STREAMS: Final = ("transactions", "labels", "decisions")
_KNOWN_S: Final = 20.0
_PAUSE_S: Final = 0.05
APPEND_TIME: Final = {"message.timestamp.type": "LogAppendTime"}


@dataclass(frozen=True)
class Topic:
    """What the brokers say of a topic."""

    life: str
    """Its id, which is the life of the log: made again, a topic has another."""
    partitions: int
    replicas: int
    """Copies of the partition that has the fewest."""


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


def topic_settings(connection: Connection, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """The settings of topics; of those that may not be asked, none."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource

    if not topics:
        return {}
    asked = connection.admin.describe_configs(
        [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics],
        request_timeout=connection.timeout_s,
    )
    found: dict[str, dict[str, str]] = {}
    for resource, answer in asked.items():
        try:
            found[resource.name] = {name: entry.value for name, entry in answer.result().items()}
        except KafkaException as error:
            if error.args[0].name() not in ("TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_TOPIC_OR_PART"):
                raise connection.translated(error.args[0], "describe its topics") from error
    return found


def describe(connection: Connection, topic: str) -> Topic:
    """What the brokers say of a topic. Raises LogError where there is none."""
    from confluent_kafka import KafkaException, TopicCollection

    try:
        with connection.errors(f"describe the topic {topic}"):
            asked = connection.admin.describe_topics(
                TopicCollection([topic]), request_timeout=connection.timeout_s
            )
            found = asked[topic].result()
    except LogError as error:
        cause = error.__cause__
        if isinstance(cause, KafkaException) and cause.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
            raise LogError(
                f"The topic {topic} was expected at {connection.servers}; there is none. Create it: `spearhead log create`, or "
                "kafka-topics.sh "
                f"--bootstrap-server {connection.servers} --create --topic {topic} --partitions 3 "
                "--config message.timestamp.type=LogAppendTime"
            ) from error
        raise
    high, low = found.topic_id.get_most_significant_bits(), found.topic_id.get_least_significant_bits()
    mask = (1 << 64) - 1
    copies = min(len(partition.replicas) for partition in found.partitions)
    return Topic(f"{high & mask:016x}{low & mask:016x}", len(found.partitions), copies)


def not_append_time(topic: str, servers: str) -> LogError:
    """What to say of a topic that carries its producers' times."""
    return LogError(
        f"The topic {topic} must carry the broker's append times: message.timestamp.type=LogAppendTime was expected, found "
        'CreateTime. Verdicts such as "in the future" rest on them. Before anything is sent to it: kafka-configs.sh '
        f"--bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} --add-config "
        "message.timestamp.type=LogAppendTime"
    )

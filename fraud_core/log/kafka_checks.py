"""The checks of `spearhead doctor` for a log on Kafka: does it answer, and do its topics keep what is promised?"""

from collections.abc import Iterable
from typing import Final

from fraud_core.errors import LogError, SettingsError
from fraud_core.log.kafka_topics import STREAMS
from fraud_core.log.open import open_kafka
from fraud_core.platform.checks import Check
from fraud_core.settings import Settings

_DAY_MS: Final = 86_400_000


def check_kafka(settings: Settings) -> Iterable[Check]:
    """The brokers answer, the topics exist, carry append times and drop nothing by key."""
    if settings.log != "kafka":
        return
    try:
        log = open_kafka(settings)
    except (LogError, SettingsError) as error:
        yield Check("kafka", False, str(error), "Correct the SPEARHEAD_KAFKA_ settings.")
        return
    try:
        yield from _of_topics(
            settings,
            {log.topic(stream): log.replicas(stream) for stream in STREAMS},
            log.topic_settings(STREAMS),
        )
    except LogError as error:
        yield Check("kafka", False, str(error), "`spearhead log create` makes missing topics.")
    finally:
        log.close()


def _of_topics(
    settings: Settings, replicas: dict[str, int], found: dict[str, dict[str, str]]
) -> Iterable[Check]:
    yield Check("kafka", True, f"{settings.kafka_servers} answers and has the topics {', '.join(replicas)}")
    for topic, values in found.items():
        alter = f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config"
        times, policy = values.get("message.timestamp.type"), values.get("cleanup.policy", "delete")
        yield Check(
            f"{topic} times",
            times == "LogAppendTime",
            f"message.timestamp.type is {times}",
            f"Before anything is sent to it: {alter} message.timestamp.type=LogAppendTime",
        )
        yield Check(
            f"{topic} policy",
            "compact" not in policy,
            f"cleanup.policy is {policy}",
            f"Compaction keeps the last message of a key and drops the others unread: {alter} cleanup.policy=delete",
        )
        kept_ms = int(values.get("retention.ms", -1))
        yield Check(
            f"{topic} retention",
            kept_ms < 0 or kept_ms >= _DAY_MS,
            "unlimited" if kept_ms < 0 else f"{kept_ms / _DAY_MS:g} days",
            f"A reader that stands still for longer loses events: {alter} retention.ms=604800000",
            required=False,
        )
        safe = replicas[topic] > 1 and int(values.get("min.insync.replicas", 1)) > 1
        yield Check(
            f"{topic} replicas",
            safe,
            f"{replicas[topic]} replicas, min.insync.replicas is {values.get('min.insync.replicas')}",
            "With one copy, or one that is enough, the loss of a broker can lose what it confirmed: 3 replicas, min.insync.replicas=2.",
            required=False,
        )

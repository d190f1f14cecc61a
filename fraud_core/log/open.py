"""Opening the log that the settings name."""

from typing import TYPE_CHECKING

from fraud_core.errors import LogError
from fraud_core.log.protocol import Log
from fraud_core.log.redis_streams import RedisLog
from fraud_core.settings import Settings

if TYPE_CHECKING:
    from fraud_core.log.kafka import KafkaLog


def open_log(settings: Settings) -> Log:
    """The log that the settings name; raises LogUnavailable when it does not answer, LogError when it is unsafe."""
    log: Log
    if settings.log == "kafka":
        log = open_kafka(settings)
    else:
        log = RedisLog(settings.redis_address, namespace=settings.namespace, shards=settings.shards)
    try:
        log.probe()
    except BaseException:
        log.close()
        raise
    return log


def open_kafka(settings: Settings, *, append_timeout_s: float | None = None) -> "KafkaLog":
    """The log on Kafka, not probed; `append_timeout_s` is how long an append may take before it counts as failed."""
    try:
        from fraud_core.log.kafka import KafkaLog
        from fraud_core.log.kafka_connection import connect
    except ImportError as error:
        raise LogError(
            "SPEARHEAD_LOG=kafka needs the package confluent-kafka, which is not installed: pip install 'spearhead[kafka]'."
        ) from error
    return KafkaLog(
        connect(settings),
        namespace=settings.namespace,
        trim=settings.kafka_trim,
        append_timeout_s=append_timeout_s,
    )

"""The real Kafka broker of the tests, and logs on it."""

import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from fraud_core.log.kafka_broker import VERSION, KafkaBroker, start_broker
from fraud_core.log.kafka_connection import of_servers
from fraud_core.log.kafka_topics import create_topics
from fraud_core.settings import Settings, load_settings

CACHE: Final = Path(__file__).resolve().parent.parent / ".cache"
"""What is fetched once and kept: the broker's jars."""
REQUIRED: Final = bool(os.environ.get("REAL_KAFKA_REQUIRED"))
"""Set where a missing broker must be a failure and no skip: in continuous integration."""
STREAMS: Final = ("transactions", "labels", "decisions")
RETENTION_ACTS_AT_ONCE: Final = {
    "log.retention.check.interval.ms": "300",
    "log.initial.task.delay.ms": "300",
    "file.delete.delay.ms": "300",
}


def broker(folder: Path, **properties: str) -> KafkaBroker:
    """A broker of one's own, in which retention acts within a test."""
    own = {name.replace("_", "."): value for name, value in properties.items()}
    return start_broker(folder, CACHE, properties=RETENTION_ACTS_AT_ONCE | own, heap_mib=256)


def kafka_settings(
    servers: str,
    home: Path,
    *,
    partitions: int = 1,
    topic_settings: dict[str, str] | None = None,
    **more: Any,
) -> Settings:
    """Settings whose log is in Kafka, in a namespace of its own, with its topics."""
    chosen = {
        "home": home,
        "log": "kafka",
        "kafka_servers": servers,
        "kafka_trim": True,
        "namespace": f"t{uuid.uuid4().hex[:8]}",
        "shards": partitions,
        **more,
    }
    settings = load_settings(_env_file=None, **chosen)
    make_topics(settings, partitions=partitions, topic_settings=topic_settings)
    return settings


def make_topics(
    settings: Settings, *, partitions: int = 1, topic_settings: dict[str, str] | None = None
) -> None:
    """The topics of the settings' namespace."""
    names = [f"{settings.namespace}.{stream}" for stream in STREAMS]
    create_topics(of_servers(settings.kafka_servers), names, partitions=partitions, settings=topic_settings)


def make_topics_again(settings: Settings) -> None:
    """Create what was deleted, once the broker has let go of it."""
    deadline = time.monotonic() + 60
    names = {f"{settings.namespace}.{stream}" for stream in STREAMS}
    connection = of_servers(settings.kafka_servers)
    while not create_topics(connection, sorted(names), partitions=1):
        assert time.monotonic() < deadline, "the deleted topic stayed"
        time.sleep(0.05)


def alter_topics(settings: Settings, values: dict[str, str]) -> None:
    """Set settings of the namespace's topics."""
    admin = AdminClient({"bootstrap.servers": settings.kafka_servers})
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in values.items()
    ]
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC, f"{settings.namespace}.{stream}", incremental_configs=entries
        )
        for stream in STREAMS
    ]
    for answer in admin.incremental_alter_configs(resources).values():
        answer.result()


def what_runs() -> str:
    """For the header of the tests."""
    if (CACHE / f"kafka-{VERSION}").is_dir() or (shutil.which("java") and shutil.which("mvn")):
        return f"kafka: a real Apache Kafka {VERSION} (KRaft, one broker), started by the first test that needs it"
    return "kafka: none (no Java 17 with Maven here): tests on Kafka are skipped"

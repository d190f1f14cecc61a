"""librdkafka's mock cluster, for machines on which no real broker runs: messages are produced and fetched by offset over TCP.

It knows no ids of topics, no append times, no groups and no deletion. So two facts that a broker would tell are given here
(the life of a topic; a producer's time passes for the append's), and tests that are about the others need a real one.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import confluent_kafka

from fraud_core.log.kafka_topics import Topic

_PRODUCER_TIME = 1
_ERROR_BYTES = 512


class MockCluster:
    """One broker within this process; `servers` is where clients find it."""

    def __init__(self) -> None:
        self._lib = _library()
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        configuration = self._lib.rd_kafka_conf_new()
        self._lib.rd_kafka_conf_set(configuration, b"log_level", b"0", error, _ERROR_BYTES)
        self._owner = self._lib.rd_kafka_new(0, configuration, error, _ERROR_BYTES)
        assert self._owner, error.value.decode()
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._owner, 1)
        self.servers: str = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._partitions: dict[str, int] = {}

    def create(self, topics: Sequence[str], partitions: int) -> None:
        """Topics with so many partitions each."""
        for topic in topics:
            made = self._lib.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)
            assert made == 0, f"the mock cluster did not create {topic}: error {made}"
            self._partitions[topic] = partitions

    @contextmanager
    def told(self) -> Iterator[None]:
        """Within, a log on Kafka takes from here what the mock cluster cannot say."""
        with (
            patch("fraud_core.log.kafka.describe", self._describe),
            patch("fraud_core.log.kafka_entries._APPEND_TIME", _PRODUCER_TIME),
        ):
            yield

    def stop(self) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._owner)

    def _describe(self, _connection: Any, topic: str) -> Topic:
        return Topic(life="0" * 32, partitions=self._partitions[topic], replicas=1)


def _library() -> Any:
    """The librdkafka that confluent-kafka brings: its Python face has no mock clusters of more than default topics."""
    beside = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    (found,) = beside.glob("librdkafka-*.so*")
    lib = ctypes.CDLL(str(found))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", number, [pointer, text, text, text, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib

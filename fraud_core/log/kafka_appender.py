"""Appending to Kafka: idempotent, confirmed by all replicas in sync, from any number of threads at once.

A thread of its own hears the broker's confirmations, so that whoever appends may wait in a thread or in an event loop.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from fraud_core.errors import LogError
from fraud_core.log.framing import BLOCK_FIELD, EVENTS_FIELD, REPLAY_FIELD, VIRTUAL_FIELD, to_fields
from fraud_core.log.kafka_connection import Connection
from fraud_core.log.protocol import JSON, Entry

FRAMING_HEADER: Final = "spearhead-framing"
"""`a1` for a block; a message without it is one JSON event (`j1`), so that any producer may send such."""
HEADER_OF: Final = {
    VIRTUAL_FIELD: "spearhead-virtual-ms",
    REPLAY_FIELD: "spearhead-replay-of",
    EVENTS_FIELD: "spearhead-events",
}
_TOO_LARGE: Final = ("MSG_SIZE_TOO_LARGE", "_MSG_SIZE_TOO_LARGE")
_HEAR_S: Final = 0.1
_QUEUE_FULL_S: Final = 0.005


class Appender:
    """A producer. The same key always goes to the same partition: murmur2, as Java's clients have it."""

    def __init__(self, connection: Connection, timeout_s: float | None = None) -> None:
        from confluent_kafka import Producer

        self._connection = connection
        self._producer = Producer(
            connection.client_options(
                acks="all",
                enable_idempotence=True,
                partitioner="murmur2_random",
                compression_type="lz4",
                linger_ms=2,
                batch_size=1 << 20,
                delivery_timeout_ms=int((timeout_s or connection.timeout_s) * 1000),
            )
        )
        self.broken = False
        """Whether it can do no more: open another. This one ends once it has said what became of all that it was given."""
        self._closed = threading.Event()
        self._listener = threading.Thread(target=self._hear, name="kafka-appender", daemon=True)
        self._listener.start()

    def submit(
        self,
        topic: str,
        entries: Sequence[Entry],
        keys: Sequence[str] | None = None,
        partitions: Sequence[int] | None = None,
    ) -> "Future[list[int]]":
        """Hand over entries; the future gives their offsets once all are confirmed, or a LogError.

        The partition of each follows from its key, or is given.
        """
        batch = _Batch(self, topic, len(entries))
        for place, entry in enumerate(entries):
            to: dict[str, Any] = {}
            if keys is not None:
                to["key"] = keys[place].encode()
            if partitions is not None:
                to["partition"] = partitions[place]
            headers = _headers(entry)
            if headers:
                to["headers"] = headers
            self._produce(topic, entry.payload, partial(batch.heard, place), to)
        return batch.future

    def close(self) -> None:
        """Stop hearing; what is not confirmed by now has been reported as such already."""
        self._closed.set()
        self._listener.join()

    def failure(self, topic: str, error: Any, size: int = 0) -> LogError:
        """What an error of the producer means to whoever appended."""
        if error.name() in _TOO_LARGE:
            return LogError(
                f"An entry{f' of {size:,} bytes' if size else ''} is larger than {topic} takes: smaller entries were expected. Send "
                "smaller blocks, or raise SPEARHEAD_KAFKA_MAX_MESSAGE_BYTES and the topic's max.message.bytes."
            )
        self.broken = self.broken or error.fatal()
        return self._connection.translated(
            error,
            f"append to {topic}",
            "Some of the entries may have been appended; the same events may be sent again.",
        )

    def _hear(self) -> None:
        while not self._closed.is_set() and not (self.broken and len(self._producer) == 0):
            self._producer.poll(_HEAR_S)

    def _produce(self, topic: str, payload: bytes, heard: Any, to: dict[str, Any]) -> None:
        from confluent_kafka import KafkaException

        while True:
            try:
                self._producer.produce(topic, payload, on_delivery=heard, **to)
                return
            except BufferError:  # its queue is full
                time.sleep(_QUEUE_FULL_S)
            except KafkaException as error:
                raise self.failure(topic, error.args[0], len(payload)) from error


class _Batch:
    """The confirmations of some entries."""

    def __init__(self, appender: Appender, topic: str, count: int) -> None:
        self.future: Future[list[int]] = Future()
        # Whoever waits may give up; what was handed over is appended all the same, and its future must take what was heard.
        self.future.set_running_or_notify_cancel()
        self._appender, self._topic = appender, topic
        self._offsets, self._failed = [0] * count, list[Any]()
        self._missing = count
        if not count:
            self.future.set_result([])

    def heard(self, place: int, error: Any, message: Any) -> None:
        """What became of the entry at `place`; told by the listening thread alone."""
        if error is None:
            self._offsets[place] = message.offset() + 1
        else:
            self._failed.append(error)
        self._missing -= 1
        if self._missing:
            return
        if self._failed:
            self.future.set_exception(self._appender.failure(self._topic, self._failed[0]))
        else:
            self.future.set_result(self._offsets)


def _headers(entry: Entry) -> list[tuple[str, bytes]]:
    """The entry's framing, but for the name of a plain JSON event: that is what a message without headers is."""
    if entry.kind == JSON and entry.virtual_ms is None and entry.replay_of is None:
        return []
    headers = [(HEADER_OF[name], value) for name, value in to_fields(entry).items() if name in HEADER_OF]
    if entry.kind != JSON:
        headers.append((FRAMING_HEADER, BLOCK_FIELD))
    return headers

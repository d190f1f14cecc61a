"""Reading one partition from an offset on, in order, with the proof of how far it was read.

Offsets have gaps (transaction markers, aborted transactions, compaction), so the last message does not tell how far the
reader has come. What does: a message behind the range asked for, or the end of the partition as the broker tells it for
committed messages. Where the broker has no longer what was asked for, it says so, and nothing is skipped.
"""

import time
from collections import deque
from typing import Any, Final

from fraud_core.log.kafka_connection import REFUSALS, Connection

_A_LOOK: Final = 8
_WAIT_S: Final = 0.05
"""How long one call waits for a full batch: what a range that ends in a gap costs."""


class OutOfRange(Exception):
    """The broker no longer holds the offset asked for, or does not hold it yet."""


class PartitionReader:
    """One consumer, assigned to one partition; it fetches ahead, so reading on is cheap and reading elsewhere is not."""

    def __init__(self, connection: Connection, topic: str, number: int, group: str) -> None:
        from confluent_kafka import Consumer

        self._connection, self._topic, self._number = connection, topic, number
        self._consumer = Consumer(
            connection.client_options(
                group_id=group,  # a name only: nothing is joined, no position is taken from it
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                isolation_level="read_committed",
                fetch_wait_max_ms=20,
                fetch_queue_backoff_ms=10,  # 1000 by default: a reader faster than that would wait for nothing
                max_partition_fetch_bytes=4 << 20,
                queued_max_messages_kbytes=32 << 10,
            )
        )
        self._at = -1
        """Where the last read ended; any other place is sought anew."""
        self._next = 0
        """Every message before this offset was fetched."""
        self._ahead: deque[Any] = deque()
        """Messages fetched beyond the last range."""

    def read(self, after: int, upto: int, limit: int) -> tuple[list[Any], int]:
        """At most `limit` messages with Kafka offsets in [after, upto), and the offset before which that is all there is.

        Raises OutOfRange, LogUnavailable when the broker does not deliver, LogError when it refuses.
        """
        if after != self._at:
            self._seek(after)
        found: list[Any] = []
        while self._ahead and len(found) < limit and self._ahead[0].offset() < upto:
            found.append(self._ahead.popleft())
        deadline = time.monotonic() + self._connection.timeout_s
        while not self._ahead and (wanted := min(limit - len(found), upto - self._next)) > 0:
            fetched = self._fetch(wanted)
            if fetched:
                if fetched[-1].offset() >= upto:  # the range ended in a gap
                    self._ahead.extend(each for each in fetched if each.offset() >= upto)
                    del fetched[-len(self._ahead) :]
                found += fetched
                deadline = time.monotonic() + self._connection.timeout_s
            elif time.monotonic() > deadline:
                raise self._connection.unavailable(
                    f"offsets {self._next} to {upto} of {self._topic}/{self._number} were not delivered in {self._connection.timeout_s:.0f} s"
                )
        end = found[-1].offset() + 1 if len(found) == limit else upto
        self._at = end
        if limit <= _A_LOOK:
            self._stop_fetching()
        return found, end

    def close(self) -> None:
        """Give back the connections."""
        self._consumer.close()

    def _stop_fetching(self) -> None:
        """Nobody reads on from a look at a few entries."""
        self._at = -1
        self._ahead.clear()
        self._consumer.unassign()

    def _seek(self, after: int) -> None:
        from confluent_kafka import TopicPartition

        self._at = -1
        self._ahead.clear()
        self._next = after
        with self._connection.errors(f"read {self._topic}"):
            self._consumer.assign([TopicPartition(self._topic, self._number, after)])

    def _fetch(self, wanted: int) -> list[Any]:
        """What came, without the broker's remarks, which are taken note of."""
        from confluent_kafka import Message

        with self._connection.errors(f"read {self._topic}"):
            batch: list[Any] = self._consumer.consume(wanted, _WAIT_S)
        if any(map(Message.error, batch)):
            for remark in batch:
                if remark.error() is not None:
                    self._heed(remark.error(), remark.offset())
            batch = [each for each in batch if each.error() is None]
        if batch:
            self._next = max(self._next, batch[-1].offset() + 1)
        return batch

    def _heed(self, error: Any, offset: int) -> None:
        name = error.name()
        if name == "_PARTITION_EOF":
            self._next = max(self._next, offset)
        elif name == "_AUTO_OFFSET_RESET":
            self._at = -1
            raise OutOfRange
        elif name in REFUSALS or error.fatal():
            raise self._connection.translated(error, f"read {self._topic}")
        else:  # passes by itself, or ends in LogUnavailable
            self._connection.last_error = error.str()

"""The reply to a large XRANGE taken from the socket as it comes, without an object per entry.

A reply of many single JSON events is framed by one compiled pass: its offsets and where each payload lies, in the very buffer that
was received into. Everything else (blocks, virtual times, errors) is left to the ordinary reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis
import numpy as np
from numpy.typing import NDArray

from fraud_core.log.raw_connection import closed_when_broken
from fraud_core.payloads import PADDING, Payloads

_RECEIVE: Final = 1 << 18


@dataclass(frozen=True)
class RangeReply:
    """What a transaction answered whose last command is an XRANGE."""

    before: list[Any]
    """The replies of the commands before it."""
    raw: list[Any] | None
    """The entries as the ordinary reader gives them; None where they are all single JSON events."""
    ms: NDArray[np.int64]
    seq: NDArray[np.int64]
    payloads: Payloads
    size: int
    """Bytes of the whole answer."""


def read_range(connection: Any, commands: Sequence[Sequence[Any]], expected_bytes: int) -> RangeReply | None:
    """Run `commands` in a transaction on a connection of redis-py; None where the answer is no plain success.

    After None, or an error, the connection is closed: what was not read of the answer must not meet the next command.
    """
    with closed_when_broken(connection):
        connection.send_packed_command(connection.pack_commands([("MULTI",), *commands, ("EXEC",)]))
        reply = _receive(_Incoming(connection._sock, expected_bytes), len(commands))  # noqa: SLF001 (redis-py gives no other)
    if reply is None:
        connection.disconnect()
    return reply


class _Incoming:
    """Bytes as they come in; `data` always has room for PADDING behind them."""

    def __init__(self, socket: Any, expected_bytes: int) -> None:
        self._socket = socket
        self.data: NDArray[np.uint8] = np.empty(max(expected_bytes, 2 * _RECEIVE), dtype=np.uint8)
        self.filled = 0

    def more(self) -> None:
        """Wait for more bytes."""
        if len(self.data) - self.filled < _RECEIVE:
            larger = np.empty(2 * len(self.data), dtype=np.uint8)
            larger[: self.filled] = self.data[: self.filled]
            self.data = larger
        received = self._socket.recv_into(self.data.data[self.filled : len(self.data) - len(PADDING)])
        if not received:
            raise ConnectionResetError("the connection was closed in the middle of an answer")
        self.filled += received

    def line(self, at: int) -> tuple[bytes, int]:
        """The line that begins at `at`, and where the next one does."""
        begin = at
        while True:
            found = self.data[at : self.filled].tobytes().find(b"\r\n")
            if found >= 0:
                return self.data[begin : at + found].tobytes(), at + found + 2
            at = max(begin, self.filled - 1)
            self.more()

    def value(self, at: int) -> tuple[Any, int]:
        """Any reply that begins at `at`, and where the next one does. Raises ValueError for an error."""
        line, at = self.line(at)
        kind, rest = line[:1], line[1:]
        if kind == b"*":
            values = []
            for _ in range(int(rest)):
                each, at = self.value(at)
                values.append(each)
            return values, at
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None, at
            while self.filled < at + size + 2:
                self.more()
            return self.data[at : at + size].tobytes(), at + size + 2
        if kind == b":":
            return int(rest), at
        if kind == b"+":
            return rest, at
        raise ValueError(line)


def _receive(incoming: _Incoming, commands: int) -> RangeReply | None:
    from fraud_core.log.framed import frame  # numba takes a second to import; only who reads much pays

    at = 0
    try:
        for _ in range(commands + 1):  # OK, and QUEUED for each
            _, at = incoming.value(at)
        line, at = incoming.line(at)
        if line != b"*%d" % commands:
            return None
        before = []
        for _ in range(commands - 1):
            each, at = incoming.value(at)
            before.append(each)
        line, begin = incoming.line(at)
        if line[:1] != b"*":
            return None
        count = int(line[1:])
    except ValueError:  # an error among the replies: the ordinary reader says which
        return None
    ids = np.empty((2, count), dtype=np.int64)
    spans = np.empty((2, count), dtype=np.int64)
    done, place, plain = 0, begin, True
    while True:
        done, place, ordinary = frame(incoming.data, incoming.filled, place, done, ids, spans)
        if done < 0:
            return None
        plain = plain and ordinary
        if done == count:
            break
        incoming.more()
    raw = None
    if not plain:
        reader = hiredis.Reader()
        reader.feed(incoming.data[at:place].tobytes())
        raw = reader.gets()
    incoming.data[incoming.filled : incoming.filled + len(PADDING)] = np.frombuffer(PADDING, dtype=np.uint8)
    return RangeReply(before, raw, ids[0], ids[1], Payloads(incoming.data, spans[0], spans[1]), place)

"""Is this an Arrow IPC stream whose sizes can be believed? Asked before a reader allocates what a block says it needs.

polars trusts the lengths in a stream: one flipped bit asks for exabytes, and the process is aborted, not merely told. A
block that ended ingestion would be read again by the next run. So every length is compared with the bytes that are there
first. Layout: the Arrow columnar format's IPC messages (Message.fbs), read here without a flatbuffers library.
"""

import struct
from typing import Final, NamedTuple

MAX_ROWS: Final = 1 << 20
"""Of a block, for rows of nothing but nulls take no bytes: some kilobytes could ask for more of them than fit into memory."""
_MAX_VALUES: Final = 1 << 24
"""Of a column in a batch, the items of its lists counted one by one."""
MAX_BYTES: Final = 1 << 30
"""Of a block when it is unpacked; a block of a million events is far below."""

_CONTINUED: Final = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_HEADS: Final = {_SCHEMA, _DICTIONARY, _BATCH}
_MESSAGES: Final = 100_000
_SIZE: Final = struct.Struct("<q")


class BadStream(ValueError):
    """The bytes are no Arrow IPC stream, or say sizes that they cannot hold."""


class Stream(NamedTuple):
    """Where the parts of a sound stream lie in its bytes, and how many rows they hold."""

    schema_end: int
    end: int
    """Of the last batch: what follows says no more than that it was the last."""
    rows: int
    plain: bool
    """Whether it holds batches and nothing else, so that streams of one schema can be read as one."""


def check_stream(block: bytes) -> Stream:
    """The parts of a stream. Raises BadStream unless every message and buffer lies within `block` and unpacks to at most MAX_BYTES,
    and there are at most MAX_ROWS rows."""
    try:
        return _check(block)
    except struct.error:
        raise BadStream("a length or offset points outside of the block") from None


def _check(block: bytes) -> Stream:
    at = unpacked = schema_end = rows = 0
    plain = True
    for _ in range(_MESSAGES):
        if at == len(block) and schema_end:
            return Stream(schema_end, at, rows, plain)
        if block[at : at + 4] != _CONTINUED:
            raise BadStream("a message does not begin where one was expected")
        [size] = struct.unpack_from("<i", block, at + 4)
        if size == 0 and schema_end:
            return Stream(schema_end, at, rows, plain)
        body = at + 8 + size
        if size <= 0 or body > len(block):
            raise BadStream("a message is longer than the block")
        head, header, length = _message(block[at + 8 : body])
        if (
            head not in _HEADS
            or (head == _SCHEMA) == bool(schema_end)
            or not 0 <= length <= len(block) - body
        ):
            raise BadStream("a message is of an unknown kind, out of turn, or longer than the block")
        at = body + length
        if head == _SCHEMA:
            schema_end = at
            continue
        batch = header if head == _BATCH else header.table(1)
        unpacked += _batch(batch, block, body, length)
        rows += batch.number(0, "<q") if head == _BATCH else 0
        plain = plain and head == _BATCH
        if rows > MAX_ROWS:
            raise BadStream(f"the block has more than {MAX_ROWS} rows")
        if unpacked > MAX_BYTES:
            raise BadStream(f"the block unpacks to more than {MAX_BYTES} bytes")
    raise BadStream("too many messages")


class _Table:
    """A flatbuffers table."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - self._read("<i", at)
        self._size = self._read("<H", self._fields)

    def number(self, index: int, layout: str) -> int:
        """A scalar field, 0 where it is absent."""
        place = self._place(index)
        return self._read(layout, place) if place else 0

    def table(self, index: int) -> "_Table":
        """A field that is a table."""
        place = self._place(index)
        if not place:
            raise BadStream("a part of a message is absent")
        return _Table(self._data, place + self._read("<I", place))

    def has(self, index: int) -> bool:
        """Whether the field is there."""
        return bool(self._place(index))

    def numbers(self, index: int, width: int) -> tuple[int, ...]:
        """A vector of structs of `width` 64-bit numbers, flat; empty where it is absent."""
        place = self._place(index)
        if not place:
            return ()
        start = place + self._read("<I", place)
        count = self._read("<I", start) * width
        if count * 8 > len(self._data):
            raise BadStream("a list in a message is longer than the message")
        return struct.unpack_from(f"<{count}q", self._data, start + 4)

    def _place(self, index: int) -> int:
        slot = 4 + 2 * index
        offset = self._read("<H", self._fields + slot) if slot + 2 <= self._size else 0
        return self._at + offset if offset else 0

    def _read(self, layout: str, at: int) -> int:
        if at < 0:  # struct would count from the end
            raise BadStream("an offset points before the message")
        [found] = struct.unpack_from(layout, self._data, at)
        return int(found)


def _message(metadata: bytes) -> tuple[int, _Table, int]:
    """Kind, header and length of the body of a message."""
    [root] = struct.unpack_from("<I", metadata)
    message = _Table(metadata, root)
    return message.number(1, "<B"), message.table(2), message.number(3, "<q")


def _batch(batch: _Table, block: bytes, body: int, held: int) -> int:
    """Bytes that a record batch unpacks to, whose buffers are the `held` bytes of the block from `body` on."""
    if not 0 <= batch.number(0, "<q") <= MAX_ROWS:
        raise BadStream(f"a batch has more than {MAX_ROWS} rows")
    nodes, buffers, variadic = batch.numbers(1, 2), batch.numbers(2, 2), batch.numbers(4, 1)
    if nodes and not 0 <= min(nodes) <= max(nodes) <= _MAX_VALUES:
        raise BadStream(f"a column has more than {_MAX_VALUES} values")
    if not all(0 <= count <= len(buffers) for count in variadic):
        raise BadStream("a column has more buffers than there are")
    unpacked, compressed = 0, batch.has(3)
    for offset, length in zip(buffers[::2], buffers[1::2], strict=True):
        if offset < 0 or length < 0 or offset + length > held:
            raise BadStream("a buffer lies outside of its message")
        if compressed and length:
            [size] = _SIZE.unpack_from(block, body + offset)
            if size < -1 or length < 8:
                raise BadStream("a compressed buffer has no size")
            unpacked += length - 8 if size == -1 else size
        else:
            unpacked += length
    return unpacked

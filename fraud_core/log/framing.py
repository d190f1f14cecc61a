"""How an entry is written into the log: one field, named by kind and version, and what is told beside it.

`j1` is one JSON event, `a1` one block of events as an Arrow IPC stream with zstd; `v` a virtual time, `n` how many events
a block holds. A name says its version too: another way of writing gets another name. An entry that has none of the names
known here, or several, is one event that cannot be read: ingestion keeps it in quarantine with all its fields.
"""

import json
from base64 import b64decode, b64encode
from typing import Final, NamedTuple

import polars as pl

from fraud_core.log.protocol import BLOCK, JSON, NO_VIRTUAL_TIME, UNKNOWN, Entry, Kind

JSON_FIELD: Final = b"j1"
BLOCK_FIELD: Final = b"a1"
VIRTUAL_FIELD: Final = b"v"
REPLAY_FIELD: Final = b"r"
EVENTS_FIELD: Final = b"n"
VIRTUAL_COLUMN: Final = "_virtual_ms"
"""Optional Int64 column of a block: the virtual append time of each of its events."""

_MOST_DIGITS: Final = 16
_FIELD_OF: dict[Kind, bytes] = {JSON: JSON_FIELD, BLOCK: BLOCK_FIELD}
_KIND_OF: dict[bytes, Kind] = {JSON_FIELD: JSON, BLOCK_FIELD: BLOCK}


def json_entry(payload: bytes, virtual_ms: int | None = None, replay_of: str | None = None) -> Entry:
    """An entry that holds one JSON event."""
    return Entry(JSON, payload, virtual_ms, replay_of)


def block_entry(rows: pl.DataFrame, virtual_ms: int | None = None) -> Entry:
    """An entry that holds `rows` as a block; a column `_virtual_ms` gives each event a virtual time of its own."""
    return Entry(BLOCK, encode_block(rows), virtual_ms, events=rows.height)


def encode_block(rows: pl.DataFrame) -> bytes:
    """`rows` as an Arrow IPC stream, compressed with zstd."""
    stream = rows.write_ipc_stream(None, compression="zstd")
    return stream.getvalue()


def to_fields(entry: Entry) -> dict[bytes, bytes]:
    """The fields under which an entry is written."""
    fields = {_FIELD_OF[entry.kind]: entry.payload}
    if entry.virtual_ms is not None:
        fields[VIRTUAL_FIELD] = b"%d" % entry.virtual_ms
    if entry.replay_of is not None:
        fields[REPLAY_FIELD] = entry.replay_of.encode()
    if entry.kind == BLOCK:
        fields[EVENTS_FIELD] = b"%d" % entry.events
    return fields


class Read(NamedTuple):
    """An entry as it was found."""

    kind: Kind
    payload: bytes
    virtual_ms: int = NO_VIRTUAL_TIME
    replay_of: str | None = None
    events: int = 1


def from_fields(fields: list[bytes]) -> Read:
    """What an entry's flat list of names and values says; one of no known kind is UNKNOWN, with all its fields."""
    kind = _KIND_OF.get(fields[0])
    if kind == JSON and len(fields) == 2:
        return Read(kind, fields[1])
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    given_once = 2 * len(named) == len(fields)
    virtual, replayed, events = (
        named.pop(name, None) for name in (VIRTUAL_FIELD, REPLAY_FIELD, EVENTS_FIELD)
    )
    if len(named) == 1 and given_once:
        name, payload = next(iter(named.items()))
        kind = _KIND_OF.get(name)
        if kind is not None:
            return Read(
                kind, payload, _virtual_ms(virtual), _origin(replayed), _events(kind, payload, events)
            )
    return Read(UNKNOWN, _all_fields(fields), _virtual_ms(virtual), _origin(replayed))


def _all_fields(fields: list[bytes]) -> bytes:
    """An entry as JSON text: the names that nobody here knows, and what stands under them."""
    pairs = [
        [name.decode(errors="backslashreplace"), b64encode(value).decode()]
        for name, value in zip(fields[::2], fields[1::2], strict=True)
    ]
    return json.dumps({"framing": [name for name, _ in pairs], "fields_base64": pairs}).encode()


def from_kept(payload: bytes) -> Read:
    """An entry of an unknown framing as it is kept (`Entry` of kind UNKNOWN), read again: this version may know it."""
    pairs = json.loads(payload)["fields_base64"]
    return from_fields([part for name, value in pairs for part in (name.encode(), b64decode(value))])


def _origin(value: bytes | None) -> str | None:
    """A value that is no text becomes one that is no origin: ingestion refuses the event, with its bytes kept."""
    return None if value is None else value.decode(errors="replace")


def _events(kind: Kind, payload: bytes, told: bytes | None) -> int:
    """Taken from a producer's word; a block without one is opened. What is no block is read as one broken event."""
    if kind == JSON:
        return 1
    if told is not None and told.isdigit() and len(told) < _MOST_DIGITS:
        return int(told)
    try:
        return pl.read_ipc_stream(payload).height
    except (pl.exceptions.PolarsError, OSError, ValueError):
        return 1


def _virtual_ms(value: bytes | None) -> int:
    """A value that is no number becomes one that can only be refused: later than any append."""
    if value is None:
        return NO_VIRTUAL_TIME
    try:
        number = int(value)
    except ValueError:
        return (1 << 63) - 1
    return number if 0 <= number < (1 << 63) else (1 << 63) - 1

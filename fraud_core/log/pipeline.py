"""Many XADD commands in one piece, packed by hand: redis-py takes three times as long to pack and unpack them.

One exchange: everything is sent, then every reply is read. Where one of them is an error, it is raised after the last.
"""

from collections.abc import Sequence
from typing import Any, Final

import hiredis

from fraud_core.log.framing import JSON_FIELD, VIRTUAL_FIELD, to_fields
from fraud_core.log.protocol import JSON, Entry
from fraud_core.log.raw_connection import closed_when_broken

_RECEIVE: Final = 1 << 16
_VIRTUAL: Final = b"$%d\r\n%b\r\n$" % (len(VIRTUAL_FIELD), VIRTUAL_FIELD)


def pack(route: Sequence[str], entries: Sequence[Entry], more: dict[str, int]) -> bytes:
    """The commands that count `more` events by key, then those that append each entry to the key of its route."""
    plain, timed = ({key: _head(key.encode(), parts) for key in set(route)} for parts in (5, 7))
    commands = [_command(b"INCRBY", f"{key}:more".encode(), b"%d" % events) for key, events in more.items()]
    for key, entry in zip(route, entries, strict=True):
        kind, payload, virtual_ms, replay_of, events = entry
        if kind == JSON and replay_of is None and events == 1:
            if virtual_ms is None:
                commands.append(b"%b%d\r\n%b\r\n" % (plain[key], len(payload), payload))
            else:
                when = b"%d" % virtual_ms
                commands.append(
                    b"%b%d\r\n%b\r\n%b%d\r\n%b\r\n"
                    % (timed[key], len(payload), payload, _VIRTUAL, len(when), when)
                )
        else:
            fields = [part for pair in to_fields(entry).items() for part in pair]
            commands.append(_command(b"XADD", key.encode(), b"*", *fields))
    return b"".join(commands)


def exchange(connection: Any, commands: bytes, replies: int) -> list[Any]:
    """Send packed commands over a connection of redis-py and read as many replies. Raises the first error among them.

    When the exchange breaks off the connection is closed: what is still to be read must not meet the next command.
    """
    reader = hiredis.Reader(replyError=connection._parser.parse_error)  # noqa: SLF001 (redis-py's own error classes)
    buffer = bytearray(_RECEIVE)
    found: list[Any] = []
    with closed_when_broken(connection):
        connection.send_packed_command([commands])
        socket = connection._sock  # noqa: SLF001 (redis-py gives no other)
        while len(found) < replies:
            received = socket.recv_into(buffer)
            if not received:
                raise ConnectionResetError("the connection was closed in the middle of an answer")
            reader.feed(bytes(memoryview(buffer)[:received]))
            while (reply := reader.gets()) is not False:
                found.append(reply)
    for reply in found:
        if isinstance(reply, Exception):
            raise reply
    return found


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _head(key: bytes, parts: int) -> bytes:
    """The command of so many parts for a JSON event, up to the event's length."""
    fixed = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in (b"XADD", key, b"*", JSON_FIELD))
    return b"*%d\r\n%b$" % (parts, fixed)

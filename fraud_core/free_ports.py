"""Ports for servers that bind them later.

A port that the kernel chose (`bind` to 0) and that was let go is anybody's again: of the next who asks so, or of an outgoing
connection. These lie below the range from which the kernel chooses, and each process begins at a place of its own.
"""

import itertools
import os
import socket
from pathlib import Path
from typing import Final

_FIRST: Final = 20_000
_KERNELS_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ITS_USUAL_START: Final = 32_768
_LEAST: Final = 1_000
_APART: Final = 61
"""Ports between the places at which processes with neighbouring ids begin."""
_TRIED: Final = 200
"""How many are tried before the kernel is asked after all."""

_calls = itertools.count()


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """So many ports of `host` on which nobody listens, and which this process was not given before, of late.

    Raises OSError when `host` is no address of this machine.
    """
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            held.append(socket.socket())
            _bind(held[-1], host)
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()


def _bind(to: socket.socket, host: str) -> None:
    ports = _range()
    for _ in range(_TRIED):
        port = ports[(os.getpid() * _APART + next(_calls)) % len(ports)]
        try:
            to.bind((host, port))
        except OSError:  # taken
            continue
        return
    to.bind((host, 0))


def _range() -> range:
    try:
        end = int(_KERNELS_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        end = _ITS_USUAL_START
    return range(_FIRST, end if end - _FIRST >= _LEAST else _ITS_USUAL_START)

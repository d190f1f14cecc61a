"""Readiness probes: cheap questions that a service answers only once it can be used."""

import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Protocol

PROBE_TIMEOUT_S = 2.0


class Probe(Protocol):
    """A question to a service."""

    def __call__(self) -> bool:
        """Whether the service is ready; never raises, never takes much longer than PROBE_TIMEOUT_S."""
        ...


@dataclass(frozen=True)
class TcpReady:
    """Ready once the port accepts connections."""

    host: str
    port: int

    def __call__(self) -> bool:
        with socket.socket() as connection:
            connection.settimeout(PROBE_TIMEOUT_S)
            return connection.connect_ex((self.host, self.port)) == 0


@dataclass(frozen=True)
class HttpReady:
    """Ready once the address answers with a status below 400."""

    url: str

    def __call__(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310  (http:// addresses of our own)
                return bool(answer.status < 400)
        except (OSError, urllib.error.URLError, ValueError):
            return False


@dataclass(frozen=True)
class RedisReady:
    """Ready once PING is answered with PONG: a server that still loads its file answers with an error."""

    host: str
    port: int

    def __call__(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=PROBE_TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

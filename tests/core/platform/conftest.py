"""Small real services, so that the supervisor is tested with processes and not with imitations of them."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fraud_core.platform.probe import HttpReady
from fraud_core.platform.service import Port, Service

SMALL_SERVER = Path(__file__).with_name("small_server.py")


@pytest.fixture
def free_ports() -> list[int]:
    """A few ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(4)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def http_service(free_ports: list[int]) -> Callable[..., Service]:
    """Makes a small HTTP service on a free port: its name, then the names of those it depends on."""

    def make(name: str, *depends: str) -> Service:
        port = free_ports.pop()
        return Service(
            name,
            (sys.executable, str(SMALL_SERVER), str(port)),
            ready=HttpReady(f"http://127.0.0.1:{port}/"),
            ports=(Port(port, f"SPEARHEAD_{name.upper()}_PORT"),),
            depends=depends,
            start_timeout_s=20,
            address=f"http://127.0.0.1:{port}",
        )

    return make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"

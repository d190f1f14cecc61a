"""Small real services, so that the supervisor is tested with processes and not with imitations of them."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fraud_core.free_ports import free_ports
from fraud_core.platform.probe import HttpReady
from fraud_core.platform.service import Port, Service

SMALL_SERVER = Path(__file__).with_name("small_server.py")


@pytest.fixture
def http_service() -> Callable[..., Service]:
    """Makes a small HTTP service on a free port: its name, then the names of those it depends on."""

    def make(name: str, *depends: str) -> Service:
        [port] = free_ports(1)
        return Service(
            name,
            (sys.executable, str(SMALL_SERVER), str(port)),
            ready=HttpReady(f"http://127.0.0.1:{port}/"),
            ports=(Port(port, f"SPEARHEAD_{name.upper()}_PORT"),),
            depends=depends,
            start_timeout_s=60,
            address=f"http://127.0.0.1:{port}",
        )

    return make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"

"""Ports for servers that bind them later: nobody else is given them meanwhile."""

import socket
from pathlib import Path

import pytest

from fraud_core import free_ports as chosen
from fraud_core.free_ports import free_ports


def test_ports_lie_outside_of_what_the_kernel_gives_away_and_come_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = tmp_path / "ip_local_port_range"
    kernels.write_text("25000\t60999\n")
    monkeypatch.setattr(chosen, "_KERNELS_RANGE", kernels)
    ports = [*free_ports(12), *free_ports(12)]
    assert len(set(ports)) == 24
    assert all(20_000 <= port < 25_000 for port in ports)


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        monkeypatch.setattr(chosen, "_range", lambda: range(port, port + 2))
        assert port not in free_ports(1)


def test_where_all_are_taken_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        monkeypatch.setattr(chosen, "_range", lambda: range(port, port + 1))
        [found] = free_ports(1)
        assert found != port

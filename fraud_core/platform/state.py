"""What is written down about a running platform, so that other commands find it: <home>/platform.json.

The file is replaced atomically. A lock beside it, held for the supervisor's life, allows one platform per home.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from fraud_core.errors import PlatformError

STATE_FILE = "platform.json"
LOCK_FILE = "platform.lock"


@dataclass(frozen=True)
class ServiceState:
    """One service as it was last seen by the supervisor."""

    name: str
    state: str
    """starting, ready, restarting, or stopped."""
    pid: int | None
    restarts: int
    log: str
    address: str = ""
    ports: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PlatformState:
    """One platform."""

    token: str
    supervisor_pid: int
    supervisor_created: float
    started_at: str
    services: tuple[ServiceState, ...] = ()

    @property
    def running(self) -> bool:
        """Whether the supervisor is alive; its creation time tells it from another process of the same number."""
        try:
            return abs(psutil.Process(self.supervisor_pid).create_time() - self.supervisor_created) < 1.0
        except psutil.NoSuchProcess:
            return False


def write_state(home: Path, state: PlatformState) -> None:
    """Replace the state file; readers see the old or the new one, never a part."""
    temporary = home / f"{STATE_FILE}.{os.getpid()}"
    temporary.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    temporary.replace(home / STATE_FILE)


def read_state(home: Path) -> PlatformState | None:
    """The state of the platform of this home; None where none was started."""
    try:
        found: dict[str, Any] = json.loads((home / STATE_FILE).read_text(encoding="utf-8"))
        services = tuple(ServiceState(**service) for service in found.pop("services"))
        return PlatformState(**found, services=services)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise PlatformError(
            f"{home / STATE_FILE} was expected to describe the running platform, and cannot be read: {error}. "
            "If nothing runs any more, delete it."
        ) from error


def chosen_ports(home: Path) -> dict[str, int]:
    """The ports of the platform that runs in this home, by the setting of each; empty where none runs."""
    state = read_state(home)
    if state is None or not state.running:
        return {}
    return {setting: port for service in state.services for setting, port in service.ports.items()}


def remove_state(home: Path) -> None:
    """Forget the platform of this home."""
    (home / STATE_FILE).unlink(missing_ok=True)


def lock_home(home: Path) -> IO[str]:
    """Hold the home's lock until the returned file is closed. Raises PlatformError where another platform holds it."""
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / LOCK_FILE).open("w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        holder = read_state(home)
        who = f" (pid {holder.supervisor_pid})" if holder is not None else ""
        raise PlatformError(
            f"A platform already runs in {home}{who}. See it with `spearhead status`, stop it with `spearhead down`, "
            "or start another one elsewhere with SPEARHEAD_HOME and other ports."
        ) from error
    return lock

"""Servers, a lake and processes of a benchmark's own, watched from outside and gone at the end, whatever happens."""

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from fraud_core.errors import PlatformError
from fraud_core.log.valkey import ValkeyServer, start_valkey
from fraud_core.platform.process import spawn
from fraud_core.settings import PACKAGED_CONTRACTS, Settings, load_settings

_EVERY_S = 0.1


@dataclass
class Watched:
    """A process and what it has used, sampled ten times a second."""

    process: psutil.Process
    times: list[float] = field(default_factory=list)
    """Unix times of the samples."""
    cpu_s: list[float] = field(default_factory=list)
    peak_rss_mib: float = 0.0

    def sample(self) -> None:
        """Take a sample; a process that is gone keeps those it has."""
        try:
            with self.process.oneshot():
                used = self.process.cpu_times()
                self.peak_rss_mib = max(self.peak_rss_mib, self.process.memory_info().rss / 2**20)
            self.times.append(time.time())
            self.cpu_s.append(used.user + used.system)
        except psutil.NoSuchProcess:
            return

    def used_s(self, begin: float, end: float) -> float:
        """CPU seconds used between two Unix times."""
        from numpy import interp

        return float(interp(end, self.times, self.cpu_s) - interp(begin, self.times, self.cpu_s))


class Rig:
    """A Valkey and a home in a folder that is deleted at the end."""

    def __init__(self, folder: Path | None, **changes: Any) -> None:
        self._parent, self._changes = folder, changes
        self.watched: dict[str, Watched] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._done = threading.Event()

    def __enter__(self) -> "Rig":
        self.home = Path(tempfile.mkdtemp(prefix="spearhead-bench-", dir=self._parent))
        try:
            self.valkey: ValkeyServer = start_valkey(self.home / "valkey", 0)
            self.settings = own_settings(self.home, redis_url=self.valkey.url, **self._changes)
            self.watch("valkey", self.valkey.pid)
            self._sampler = threading.Thread(target=self._sample, name="sampler", daemon=True)
            self._sampler.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        for child in self._children:
            child.kill()
            child.wait()
        if hasattr(self, "valkey"):
            self.valkey.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self, name: str, *command: str, settings: Settings | None = None) -> subprocess.Popen[bytes]:
        """Start a Python module with the rig's settings and watch it."""
        chosen = settings or self.settings
        child = spawn(
            [sys.executable, "-m", *command],
            chosen.environment() | {"DAGSTER_HOME": str(chosen.home_path / "dagster")},
            self.home / f"{name}.log",
            token="bench",  # noqa: S106 (a mark on the process, no secret)
            folder=self.home,
        )
        self._children.append(child)
        self.watch(name, child.pid)
        return child

    def watch(self, name: str, pid: int) -> None:
        """Sample a process from now on."""
        self.watched[name] = Watched(psutil.Process(pid))

    def wait(
        self, condition: Callable[[], bool], child: subprocess.Popen[bytes], name: str, timeout_s: float
    ) -> None:
        """Wait until `condition` holds. Raises PlatformError when the child ends first, or time is over."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if child.poll() is not None or time.monotonic() > deadline:
                tail = (self.home / f"{name}.log").read_text(errors="replace")[-3000:]
                raise PlatformError(
                    f"The benchmark's {name} was expected to go on; it {'ended' if child.poll() is not None else 'stood still'}. "
                    f"The end of its output:\n{tail}"
                )
            time.sleep(0.05)

    @contextmanager
    def paused(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """Hold a process still meanwhile, so that a backlog can grow."""
        process = psutil.Process(child.pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def _sample(self) -> None:
        while not self._done.wait(_EVERY_S):
            for watched in list(self.watched.values()):
                watched.sample()


def own_settings(home: Path, **changes: Any) -> Settings:
    """The settings in force, but for every place and address: those are the benchmark's own."""
    own: dict[str, Any] = {
        "home": home,
        "lake": str(home / "lake"),
        "lake_marker": "",
        "bundles": str(home / "bundles"),
        "reports": str(home / "reports"),
        "contracts": PACKAGED_CONTRACTS,
        "log": "redis",
        "namespace": "bench",
        "shards": 1,
        "quarantine_key": "",
        "failpoint": "",
    }
    return load_settings(**{**own, **changes})

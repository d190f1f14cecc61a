"""Starts services in the order of their dependencies, keeps them alive, and stops them all, whatever happens.

Use as a context manager: leaving it, by any way, leaves no process behind. A service starts as soon as those it depends
on are ready, and is ended as soon as those that depend on it have ended, so that independent ones start and end at the same time.
"""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from fraud_core.errors import PlatformError
from fraud_core.platform import guardian
from fraud_core.platform.ports import require_free
from fraud_core.platform.process import sweep
from fraud_core.platform.running import RunningService
from fraud_core.platform.service import Service
from fraud_core.platform.state import PlatformState, lock_home, read_state, remove_state, write_state

POLL_S = 0.1
WATCH_S = 0.5

Report = Callable[[str, str], None]
"""Called with a service's name and its new state."""


class Supervisor:
    """The processes of one home."""

    def __init__(
        self, home: Path, host: str, services: Sequence[Service], report: Report = lambda _name, _state: None
    ) -> None:
        known: set[str] = set()
        for service in services:
            missing = set(service.depends) - known
            if missing:
                raise PlatformError(
                    f"{service.name} depends on {', '.join(sorted(missing))}, which must be declared before it and is not."
                )
            known.add(service.name)
        self._home = home
        self._host = host
        self._report = report
        self._token = secrets.token_hex(16)
        self._services = [
            RunningService(service, home / "logs" / f"{service.name}.log", self._token)
            for service in services
        ]
        self._shown: dict[str, str] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._ended = threading.Event()
        self._hurry = threading.Event()
        self._watcher: threading.Thread | None = None
        self._cleanup = ExitStack()
        self._state: PlatformState | None = None

    @property
    def token(self) -> str:
        """The mark of this platform's processes, for processes that others start on its behalf."""
        return self._token

    def __enter__(self) -> Self:
        try:
            self._cleanup.enter_context(lock_home(self._home))
            left_behind = read_state(self._home)
            if left_behind is not None:
                sweep(left_behind.token)
            require_free(self._host, [running.service for running in self._services])
            process = psutil.Process()
            self._state = PlatformState(
                token=self._token,
                supervisor_pid=process.pid,
                supervisor_created=process.create_time(),
                started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            self._cleanup.callback(guardian.dismiss, guardian.start(self._token))
            write_state(self._home, self._state)
        except BaseException:
            if self._state is not None:
                remove_state(self._home)
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return once all is ready; from then on what ends is started again.

        Raises PlatformError with the end of its log for a service that ends or does not become ready.
        """
        waiting = list(self._services)
        while any(running.state != "ready" for running in self._services):
            ready = {running.service.name for running in self._services if running.state == "ready"}
            for running in [each for each in waiting if ready.issuperset(each.service.depends)]:
                waiting.remove(running)
                running.start()
            for running in self._services:
                running.check_start()
            self._publish()
            time.sleep(POLL_S)
        self._watcher = threading.Thread(target=self._watch, name="platform-watcher", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop everything, each service after those that depend on it, then whatever still carries the token. Safe to call again."""
        self._ending.set()
        if self._state is None:
            return
        with self._lock:  # the watcher is not in the middle of starting something again
            stopped = self._stop_services()
            sweep(self._token, grace_s=0.0 if self._hurry.is_set() else 5.0)
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
        remove_state(self._home)
        self._state = None
        self._cleanup.close()
        for each in stopped:
            each.result()

    def _stop_services(self) -> list[Future[None]]:
        """Each in a thread of its own: one that takes its time holds up only those that it depends on."""
        left, every = list(self._services), list[Future[None]]()
        under_way: dict[Future[None], RunningService] = {}
        with ThreadPoolExecutor(max(1, len(left)), "platform-stop") as threads:
            while left or under_way:
                held = {name for each in (*left, *under_way.values()) for name in each.service.depends}
                for running in [each for each in reversed(left) if each.service.name not in held]:
                    left.remove(running)
                    future = threads.submit(running.stop, self._hurry.is_set)
                    under_way[future] = running
                    every.append(future)
                # Not for ever: a signal that another thread received is heeded between two waits.
                for future in wait(under_way, POLL_S, FIRST_COMPLETED).done:
                    self._tell(under_way.pop(future))
        return every

    def stopping(self) -> bool:
        """Whether everything is being stopped, or was."""
        return self._ending.is_set()

    def hurry(self) -> None:
        """While stopping: wait for nobody any longer."""
        self._hurry.set()

    def _watch(self) -> None:
        while not self._ending.wait(WATCH_S):
            with self._lock:
                if self._ending.is_set():
                    break
                for running in self._services:
                    running.keep_alive()
                self._publish()
        # The kernel ends a service when the thread that started it ends: this one may not end before the services.
        self._ended.wait()

    def _publish(self) -> None:
        assert self._state is not None
        for running in self._services:
            self._tell(running)
        current = replace(self._state, services=tuple(running.snapshot() for running in self._services))
        if current != self._state:
            self._state = current
            write_state(self._home, current)

    def _tell(self, running: RunningService) -> None:
        if self._shown.get(running.service.name, "stopped") != running.state:
            self._shown[running.service.name] = running.state
            self._report(running.service.name, running.state)

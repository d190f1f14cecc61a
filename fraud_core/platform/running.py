"""One service at run time: its process, its readiness, and when it may be started again."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fraud_core.errors import PlatformError
from fraud_core.platform.process import log_tail, spawn, terminate
from fraud_core.platform.service import Service
from fraud_core.platform.state import ServiceState

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
SETTLED_AFTER_S = 60.0


class RunningService:
    """Starts, watches and stops one service. Not thread-safe: the supervisor's lock guards it."""

    def __init__(self, service: Service, log: Path, token: str) -> None:
        self.service = service
        self.log = log
        self.state = "stopped"
        self.restarts = 0
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failures = 0
        self._restart_at = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process; `check_start` tells when it is ready."""
        service = self.service
        self._process = spawn(service.argv, service.environment, self.log, self._token, folder=service.folder)
        self._started = time.monotonic()
        self.state = "starting"

    def check_start(self) -> None:
        """Notice readiness. Raises PlatformError when the process ended instead, or takes too long."""
        process = self._process
        if process is None or self.state != "starting":
            return
        code = process.poll()
        if code is not None:
            raise PlatformError(
                f"{self.service.name} ended with {describe_exit(code)} before it was ready. {self._evidence()}"
            )
        if self.service.ready is None or self.service.ready():
            self.state = "ready"
        elif time.monotonic() - self._started > self.service.start_timeout_s:
            raise PlatformError(
                f"{self.service.name} was expected to be ready within {self.service.start_timeout_s:.0f} s and is not. "
                f"{self._evidence()}"
            )

    def keep_alive(self) -> None:
        """Start the service again when it ended: at once the first time, then with a growing pause."""
        now = time.monotonic()
        if self.state == "restarting":
            if now >= self._restart_at:
                self.restarts += 1
                self.start()
            return
        process = self._process
        if process is None or self.state == "stopped":
            return
        if process.poll() is not None:
            if now - self._started > SETTLED_AFTER_S:
                self._failures = 0
            pause = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**self._failures)
            self._failures += 1
            self._restart_at = now + pause
            self.state = "restarting"
        elif self.state == "starting" and (self.service.ready is None or self.service.ready()):
            self.state = "ready"

    def stop(self, hurried: Callable[[], bool] = lambda: False) -> None:
        """End the process and its group, after its farewell where it is up; for nobody is waited who hurries."""
        try:
            if self.service.farewell is not None and self.state == "ready" and self.pid is not None:
                self.service.farewell(hurried)
        finally:
            self.state = "stopped"
            if self._process is not None:
                terminate(self._process, 0.0 if hurried() else self.service.stop_timeout_s)

    def snapshot(self) -> ServiceState:
        """What the state file says about it."""
        return ServiceState(
            name=self.service.name,
            state=self.state,
            pid=self.pid,
            restarts=self.restarts,
            log=str(self.log),
            address=self.service.address,
            ports={port.setting: port.number for port in self.service.ports},
        )

    def _evidence(self) -> str:
        tail = log_tail(self.log)
        return f"The end of {self.log}:\n{tail}" if tail else f"It wrote nothing to {self.log}."


def describe_exit(code: int) -> str:
    """`exit code 3` or `signal 9`."""
    return f"exit code {code}" if code >= 0 else f"signal {-code}"

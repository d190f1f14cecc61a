"""Starting and ending processes such that none is left behind.

A process of the platform runs in a session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone, and
carries TOKEN_VARIABLE in its environment, which every descendant inherits: `sweep` ends them all by that mark.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from fraud_core.platform import launch
from fraud_core.settings import TOKEN_VARIABLE


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    token: str,
    *,
    errors: Path | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that appends its output to `log` (its errors to `errors`) and ends when this process does.

    The variables are added to this process's own, which are passed on unread.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output, (errors or log).open("ab") as error_output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=error_output,
            env={**os.environ, **environment, TOKEN_VARIABLE: token},
            cwd=folder,
            start_new_session=True,
        )


def run_to_end(
    argv: Sequence[str], environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a short command with these variables added; raises subprocess.TimeoutExpired after `timeout_s`."""
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=timeout_s,
        check=False,
    )


def terminate(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """End a process and its group: TERM first, KILL for what is left after `timeout_s`."""
    _signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def marked(token: str) -> list[psutil.Process]:
    """Every process that carries the token, this one excepted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(TOKEN_VARIABLE) == token:
                found.append(process)
    return found


def sweep(token: str, grace_s: float = 5.0) -> int:
    """End every process that carries the token; returns how many there were."""
    found = {process.pid: process for process in marked(token)}
    deadline = time.monotonic() + grace_s
    remaining = list(found.values())
    for process in remaining:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    while remaining:
        psutil.wait_procs(remaining, timeout=max(0.0, deadline - time.monotonic()))
        if time.monotonic() >= deadline:
            for process in remaining:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(remaining, timeout=1.0)
        # Asked again, because the ending ones may have started others; one that is nearly gone shows its token no more.
        found |= {process.pid: process for process in marked(token)}
        remaining = [process for process in found.values() if _lives(process)]
    return len(found)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended since it was found
        return False


def log_tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 16_384))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)

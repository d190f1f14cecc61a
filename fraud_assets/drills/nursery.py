"""Ingest processes that begin with most of their imports done, so that a drill can afford to kill hundreds.

A plain `spearhead ingest` spends three to four CPU seconds on imports. Here a server process imports what is safe to inherit
(preload.py) and forks; polars and delta-rs are imported by each process for itself. Each is a process like any other: it
plans from the lake alone, and SIGKILL takes it at once.
"""

import logging
import multiprocessing
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from fraud_core.errors import PlatformError
from fraud_core.settings import Settings

Message = tuple[str, str]
"""What a process says about itself: ready, commit, resumed, refused, done, or error with its text."""


class IngestProcess:
    """One ingest run in a process of its own, to the end of the log or for some seconds."""

    def __init__(
        self,
        settings: Settings,
        *,
        failpoint: str = "",
        seconds: float | None = None,
        streams: Sequence[str] | None = None,
        errors: Path | None = None,
    ) -> None:
        context = _context()
        self._said, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_ingest,
            kwargs={
                "settings": settings,
                "failpoint": failpoint,
                "seconds": seconds,
                "streams": streams,
                "errors": errors,
                "said": theirs,
            },
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self.messages: list[Message] = []

    def wait_for(self, word: str, timeout_s: float) -> bool:
        """Wait until the process says `word`; False when it ended or the time is over."""
        while self._said.poll(timeout_s):
            if not self._hear() or self.messages[-1][0] == word:
                break
        return bool(self.messages) and self.messages[-1][0] == word

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, negative for a signal, or None when it still runs after the time; hears what it said."""
        while self._said.poll(timeout_s):
            if not self._hear():
                break
        self._process.join(timeout_s)
        return self._process.exitcode

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def count(self, word: str) -> int:
        """How often it said `word`, as far as was heard."""
        return sum(said == word for said, _ in self.messages)

    @property
    def error(self) -> str:
        """Why it ended by itself with an exit code other than 0."""
        return next((text for word, text in self.messages if word == "error"), "")

    def _hear(self) -> bool:
        try:
            self.messages.append(self._said.recv())
        except (EOFError, OSError):
            return False
        return True


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fraud_assets.drills.preload"])
    return context


def _ingest(
    *,
    settings: Settings,
    failpoint: str,
    seconds: float | None,
    streams: Sequence[str] | None,
    errors: Path | None,
    said: Connection,
) -> None:
    """The life of one process."""
    _check_server()
    if errors is not None:
        with errors.open("ab") as file:
            os.dup2(file.fileno(), sys.stderr.fileno())

    from fraud_assets.ingestion import Commit, run_ingest
    from fraud_assets.ingestion.failpoint import armed
    from fraud_assets.lake import STREAMS
    from fraud_core.errors import CommitRefused, SpearheadError

    class Refusals(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.args and isinstance(record.args[0], CommitRefused):  # type: ignore[index]  # a log record's args are a tuple here
                said.send(("refused", ""))

    def committed(commit: Commit) -> None:
        said.send(("resumed" if commit.resumed else "commit", ""))

    run_log = logging.getLogger("fraud_assets.ingestion.run")
    run_log.addHandler(Refusals())
    run_log.setLevel(logging.INFO)
    said.send(("ready", ""))
    try:
        run_ingest(
            settings,
            streams or STREAMS,
            until="end" if seconds is None else timedelta(seconds=seconds),
            on_commit=committed,
            failpoint=armed(failpoint),
        )
    except SpearheadError as error:
        said.send(("error", f"{type(error).__name__}: {error}"))
        sys.exit(1)
    said.send(("done", ""))


def _check_server() -> None:
    preload = sys.modules.get("fraud_assets.drills.preload")
    if preload is None or preload.THREADS != 1:
        found = "nothing imported" if preload is None else f"{preload.THREADS} threads"
        raise PlatformError(
            f"Ingest processes of a drill were expected to begin in a server with its imports done and one thread; found {found}. "
            "A package among those of fraud_assets/drills/preload.py cannot be imported, or starts threads: take it out."
        )

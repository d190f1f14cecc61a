"""The frame of the demo: what a phase is, and what it may use."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fraud_core.errors import PlatformError
from fraud_core.platform.process import log_tail, spawn, terminate
from fraud_core.platform.session import Progress
from fraud_core.settings import Settings

HTTP_TIMEOUT_S = 30.0


class PhaseFailed(PlatformError):
    """A phase found something else than it expected."""


class Finished(Protocol):
    """Waits for the end of a command that runs in the background and returns what it printed."""

    def __call__(self, timeout_s: float, any_exit: bool = False) -> str: ...


@dataclass
class Demo:
    """What phases share: the settings in force, commands, HTTP, and the results that the last line reports."""

    settings: Settings
    token: str
    progress: Progress
    began: float
    results: dict[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _text: None
    """Replaces the moving line of the phase under way."""

    def command(self, *arguments: str, timeout_s: float, any_exit: bool = False) -> str:
        """Run `spearhead …` to its end and return what it printed; its messages go to a log and the moving line.

        Raises PhaseFailed with the end of its messages when it takes too long, or fails (unless `any_exit`).
        """
        with self.background(*arguments) as finished:
            return finished(timeout_s=timeout_s, any_exit=any_exit)

    @contextmanager
    def background(self, *arguments: str) -> Iterator[Finished]:
        """Run `spearhead …` beside the block; the yielded function waits for its end. It never outlives the block."""
        shown = f"spearhead {' '.join(arguments)}"
        output, messages = self._logs(arguments[0])
        process = self.start(*arguments)

        def finished(timeout_s: float, any_exit: bool = False) -> str:
            deadline = time.monotonic() + timeout_s
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise PhaseFailed(
                        f"`{shown}` was expected to end within {timeout_s:.0f} s.\n{log_tail(messages)}"
                    )
                self.say(log_tail(messages, 1).strip() or shown)
                time.sleep(0.1)
            if process.returncode != 0 and not any_exit:
                raise PhaseFailed(
                    f"`{shown}` ended with exit code {process.returncode}:\n{log_tail(messages)}"
                )
            return output.read_text(encoding="utf-8")

        try:
            yield finished
        finally:
            terminate(process, 10.0)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `spearhead …`, to end with the platform at the latest."""
        output, messages = self._logs(arguments[0])
        for log in (output, messages):
            log.unlink(missing_ok=True)
        environment = self.settings.environment()
        command = [sys.executable, "-m", "fraud_core.cli", *arguments]
        return spawn(command, environment, output, self.token, errors=messages)

    def json_command(self, *arguments: str, timeout_s: float, any_exit: bool = False) -> dict[str, Any]:
        """Run a command whose last line of output is one JSON object, and return that."""
        lines = self.command(*arguments, timeout_s=timeout_s, any_exit=any_exit).strip()
        try:
            found = json.loads(lines.rpartition("\n")[2])
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise PhaseFailed(
                f"`spearhead {' '.join(arguments)}` was expected to print a JSON object; found {lines[-200:]!r}.\n"
                f"{log_tail(self._logs(arguments[0])[1])}"
            )
        return found

    def _logs(self, command: str) -> tuple[Path, Path]:
        folder = self.settings.home_path / "logs"
        return folder / f"demo-{command}.out", folder / f"demo-{command}.log"

    def http(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and parsed JSON (else text) of one request; 0 and the reason when nobody answers."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310  (our own address)
        try:
            with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 (http:// addresses of our own)
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read())
        except OSError as error:
            return 0, str(error)

    def wait_until(
        self, what: str, condition: Callable[[], bool], timeout_s: float, poll_s: float = 0.5
    ) -> None:
        """Wait until the condition holds. Raises PhaseFailed, naming `what`, when it does not within the time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise PhaseFailed(f"{what} was expected within {timeout_s:.0f} s and did not happen.")
            time.sleep(poll_s)

    @property
    def serving_url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.serving_port}"

    @property
    def dagster_url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.dagster_port}"


@dataclass(frozen=True)
class Phase:
    """One step of the demo: what people read, and what is done; `run` returns a line about what came out."""

    title: str
    run: Callable[[Demo], str]


def run_phases(demo: Demo, phases: list[Phase]) -> None:
    """Run them one after the other, with a line and a duration each. Stops at the first that raises."""
    console = demo.progress.console
    for number, phase in enumerate(phases, 1):
        began = time.monotonic()
        heading = f"[{number}/{len(phases)}] {phase.title}"
        if not console.is_terminal:
            console.print(f"{heading} …", markup=False)
        with demo.progress.under_way(heading) as update:
            demo.say = lambda text, heading=heading, update=update: update(
                f"{heading}  [dim]{_escaped(text)}[/]"
            )  # type: ignore[misc]
            outcome = phase.run(demo)
        console.print(
            f"[green]✓[/] {phase.title}: {_escaped(outcome)} [dim]({time.monotonic() - began:.1f} s)[/]"
        )


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")

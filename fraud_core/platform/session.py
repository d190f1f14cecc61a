"""A platform for as long as a command runs: settings with real ports, signals, progress lines, certain clean-up."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from fraud_core.cli.discovery import offered_commands
from fraud_core.platform.ports import choose_free_ports
from fraud_core.platform.service import Service
from fraud_core.platform.services import local_services, prepare_home
from fraud_core.platform.signals import StopRequested, stop_on_signals
from fraud_core.platform.supervisor import Supervisor
from fraud_core.platform.triton import triton_problem, wants_triton
from fraud_core.settings import Settings

MARKS = {
    "starting": "[dim]starting[/]",
    "ready": "[green]ready[/]",
    "restarting": "[yellow]ended; starts again[/]",
}
EXPECTED_COMMANDS = ("triton", "serve", "scorer")


class Progress:
    """Says what happens: lines that stay, and on a terminal a moving line for what is under way."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status: Status | None = None
        self._began: dict[str, float] = {}

    def service(self, name: str, state: str) -> None:
        """A service changed its state."""
        if state == "starting":
            self._began[name] = time.monotonic()
            return
        if state in MARKS:
            took = (
                f" [dim]{time.monotonic() - self._began[name]:.1f} s[/]"
                if state == "ready" and name in self._began
                else ""
            )
            self.console.print(f"  {name:<18} {MARKS[state]}{took}")

    @contextmanager
    def under_way(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show `what` while the block runs; the yielded function replaces the text."""
        if not self.console.is_terminal:
            yield lambda _text: None
            return
        with self.console.status(what) as status:
            yield status.update


@contextmanager
def running_platform(
    settings: Settings, progress: Progress, without: frozenset[str] = frozenset()
) -> Iterator[tuple[Settings, Supervisor]]:
    """Start every service that this machine can run; leaving the block, by any way, stops them all.

    Yields the settings with the ports that were chosen. Raises StopRequested at the first Ctrl-C or TERM.
    """
    settings = choose_free_ports(settings)
    asked = "triton" in offered_commands() and settings.backend == "auto" and wants_triton(settings)
    why = triton_problem(settings) if asked else ""
    if why:
        settings = settings.changed(
            backend="onnxruntime"
        )  # meant so, and no fallback from a Triton that is not there
        progress.console.print(
            f"  Triton is left out, the model runs on ONNX Runtime in process. {why}",
            style="yellow",
            markup=False,
        )
    services: list[Service] = [
        service for service in local_services(settings, offered_commands()) if service.name not in without
    ]
    prepare_home(settings)
    supervisor = Supervisor(settings.home_path, settings.host, services, progress.service)
    with stop_on_signals(supervisor.hurry, supervisor.stopping), supervisor:
        for command in EXPECTED_COMMANDS:
            if command not in offered_commands():
                progress.console.print(f"  [yellow]`spearhead {command}` is not installed and is left out[/]")
        try:
            with progress.under_way("starting services"):
                supervisor.start()
            yield settings, supervisor
        except StopRequested as request:
            if request.number == signal.SIGINT:
                progress.console.print("\nStopping every service. Ctrl-C again waits for none of them.")
            raise

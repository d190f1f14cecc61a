"""`spearhead up | status | down | doctor | demo`: the platform on this machine."""

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from fraud_core.backlog.checks import alarms as backlog_alarms
from fraud_core.errors import PlatformError
from fraud_core.platform.checks import run_checks
from fraud_core.platform.process import log_tail, sweep
from fraud_core.platform.session import Progress, running_platform
from fraud_core.platform.signals import StopRequested, stop_on_signals
from fraud_core.platform.state import PlatformState, read_state, remove_state
from fraud_core.settings import Settings, load_settings

STOP_TIMEOUT_S = 90.0
START_TIMEOUT_S = 300.0
EXIT_INTERRUPTED = 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def up(
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return once everything is ready; `spearhead down` stops it."),
    ] = False,
) -> None:
    """Start every service on this machine and keep it running until Ctrl-C."""
    settings = load_settings()
    console = Console(highlight=False)
    if detach:
        try:
            _up_detached(settings, console)
        except StopRequested:
            console.print("Stopped before everything was ready; nothing is left running.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        return
    progress = Progress(console)
    try:
        with running_platform(settings, progress):
            state = read_state(settings.home_path)
            if state is not None:
                _print_addresses(console, state)
            console.print("\nRunning. Ctrl-C stops everything.")
            threading.Event().wait()
    except StopRequested:
        console.print("Stopped.")


def status(as_json: JsonOption = False) -> None:
    """Show what runs. The exit code is 0 only when every service is ready."""
    settings = load_settings()
    state = read_state(settings.home_path)
    running = state is not None and state.running
    alarms = backlog_alarms(settings) if running else []
    if as_json:
        found = asdict(state) if state is not None and running else {"services": []}
        found.pop("token", None)
        found["alarms"] = alarms
        typer.echo(json.dumps({"running": running, "home": str(settings.home_path), **found}))
    elif state is None or not running:
        Console().print(f"Nothing runs in {settings.home_path}. `spearhead up` starts the platform.")
    else:
        console = Console(highlight=False)
        console.print(_status_table(state))
        typer.echo(f"logs: {settings.home_path / 'logs'}")
        for alarm in alarms:
            console.print(alarm, style="red", markup=False)
    if state is None or not running or any(service.state != "ready" for service in state.services):
        raise typer.Exit(1)


def down() -> None:
    """Stop the platform of this home and everything that it started."""
    settings = load_settings()
    console = Console(highlight=False)
    state = read_state(settings.home_path)
    if state is None:
        console.print(f"Nothing runs in {settings.home_path}.")
        return
    if state.running:
        with console.status("stopping services"):
            _end_supervisor(state)
    left = sweep(state.token)
    remove_state(settings.home_path)
    console.print(f"Stopped.{f' {left} processes were left behind and are ended.' if left else ''}")


def doctor(as_json: JsonOption = False) -> None:
    """Check everything that the platform needs, and say what to do about what is missing."""
    settings = load_settings()
    checks = []
    console = Console(highlight=False, stderr=as_json)
    for check in run_checks(settings):
        checks.append(check)
        if not as_json:
            mark = "[green]ok[/]  " if check.ok else ("[red]FAIL[/]" if check.required else "[yellow]note[/]")
            console.print(f"{mark} [bold]{check.name}[/]: ", end="")
            console.print(check.found, markup=False)
            if not check.ok and check.advice:
                console.print(f"     {check.advice}", style="yellow", markup=False)
    healthy = all(check.ok or not check.required for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}))
    if not healthy:
        raise typer.Exit(1)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Run through, stop everything, end with one JSON line.")
    ] = False,
) -> None:
    """Start everything on this machine and show it working: events, tables, a model, scored payments."""
    from fraud_core.platform.demo import run_demo

    raise typer.Exit(run_demo(load_settings(), once=once))


def _up_detached(settings: Settings, console: Console) -> None:
    log = settings.home_path / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with stop_on_signals(lambda: None):  # also while ending: Ctrl-C pressed again changes nothing
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "fraud_core.cli", "up"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            with console.status("starting services"):
                _wait_until_ready(settings, process, log)
        except BaseException:  # a platform that nobody was told of must not go on
            process.terminate()
            process.wait()
            raise
    state = read_state(settings.home_path)
    if state is not None:
        _print_addresses(console, state)


def _wait_until_ready(settings: Settings, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None:
        state = read_state(settings.home_path)
        mine = state is not None and state.supervisor_pid == process.pid
        if (
            state is not None
            and mine
            and state.services
            and all(each.state == "ready" for each in state.services)
        ):
            return
        if time.monotonic() > deadline:
            raise PlatformError(f"The platform was not ready within {START_TIMEOUT_S:.0f} s. {_said(log)}")
        time.sleep(0.2)
    raise PlatformError(f"The platform did not start. {_said(log)}")


def _said(log: Path) -> str:
    return f"The end of {log}:\n{log_tail(log, 30)}"


def _end_supervisor(state: PlatformState) -> None:
    with suppress(psutil.NoSuchProcess):
        supervisor = psutil.Process(state.supervisor_pid)
        supervisor.terminate()
        try:
            supervisor.wait(STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()


def _print_addresses(console: Console, state: PlatformState) -> None:
    for service in state.services:
        if service.address:
            console.print(f"  {service.name:<18} {service.address}")


def _status_table(state: PlatformState) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("service", "state", "pid", "restarts", "address"):
        table.add_column(column, no_wrap=True)
    for service in state.services:
        colour = {"ready": "green", "stopped": "red"}.get(service.state, "yellow")
        table.add_row(
            service.name,
            f"[{colour}]{service.state}[/]",
            str(service.pid or ""),
            str(service.restarts),
            service.address,
        )
    return table

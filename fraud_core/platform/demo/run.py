"""Running the demo: services, phases, addresses, clean-up, and the one JSON line at the end."""

import json
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta

import typer
from rich.console import Console

from fraud_core.errors import PlatformError, SpearheadError
from fraud_core.platform.demo.frame import Demo, run_phases
from fraud_core.platform.demo.phases import HISTORY_DAYS, PHASES, keep_traffic
from fraud_core.platform.demo.summary import RESULT_KEYS, print_summary
from fraud_core.platform.session import Progress, running_platform
from fraud_core.platform.signals import StopRequested
from fraud_core.platform.state import read_state
from fraud_core.settings import Settings

EXIT_INTERRUPTED = 130
PLACES = (
    "lake",
    "lake_marker",
    "bundles",
    "reports",
    "redis_url",
    "triton_url",
    "triton_repository",
    "failpoint",
)
"""Settings that name a place outside the home: a demo writes to none that somebody set."""


def run_demo(settings: Settings, *, once: bool) -> int:
    """Run every phase; afterwards stop (`once`) or keep running until Ctrl-C. Returns the exit code.

    With `once`, the last line of standard output is a JSON object with RESULT_KEYS, printed only when every phase
    truly happened and every process has ended. Progress goes to standard error.
    """
    began = time.monotonic()
    settings = fresh_home(settings)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    results = {}
    finished = False
    try:
        with running_platform(settings, Progress(console)) as (chosen, supervisor):
            demo = Demo(chosen, supervisor.token, Progress(console), began)
            run_phases(demo, PHASES)
            results = demo.results
            missing = [key for key in RESULT_KEYS if key not in results]
            if missing:
                raise SpearheadError(
                    f"The demo was expected to measure {', '.join(missing)}, and no phase did."
                )
            finished = True
            print_summary(demo)
            if not once:
                keep_traffic(demo)
                console.print("\nEverything runs, with live traffic. Ctrl-C stops it.")
                threading.Event().wait()
    except StopRequested:
        console.print("Stopped; nothing is left running.")
        return 0 if finished else EXIT_INTERRUPTED
    typer.echo(json.dumps({key: results[key] for key in RESULT_KEYS}))
    return 0


def fresh_home(settings: Settings) -> Settings:
    """The settings with an empty home of the demo's own, so that each demo starts from nothing and touches nothing else."""
    home = settings.home_path / "demo"
    state = read_state(home)
    if state is not None and state.running:
        raise PlatformError(
            f"A demo runs already in {home}. Stop it with Ctrl-C there, or SPEARHEAD_HOME={home} spearhead down."
        )
    shutil.rmtree(home, ignore_errors=True)
    # Partitions begin with the history: years of empty days would make every asset look unfinished.
    first = datetime.now(UTC).date() - timedelta(days=HISTORY_DAYS)
    return settings.changed(home=home, first_event_date=first, **dict.fromkeys(PLACES, ""))

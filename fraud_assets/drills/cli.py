"""`spearhead drill`: faults brought about on purpose, and the proof that nothing came of them."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from fraud_core.settings import load_settings

if TYPE_CHECKING:
    from fraud_assets.drills.ingest import DrillResult
    from fraud_assets.drills.state import StateDrillResult

app = typer.Typer(
    name="drill",
    help="Faults on purpose, and the proof that nothing was lost or doubled.",
    no_args_is_help=True,
)


@app.callback()
def drill() -> None:
    """Faults on purpose, and the proof that nothing was lost or doubled."""


@app.command()
def ingest(
    kills: Annotated[int, typer.Option(help="How many ingest runs are killed (SIGKILL).", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="Of the plan of deaths and of the events.")] = 1,
    lake: Annotated[
        str,
        typer.Option(
            help="Where a folder for the drill's tables is made: a path or s3://… Default: a temporary one."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
) -> None:
    """Kill ingest runs at every step and at random moments, on a log and a lake of their own; exit code 1 unless all is there once."""
    from fraud_assets.drills.ingest import drill_ingest

    console = Console(stderr=as_json)
    with _ended_as_by_ctrl_c():
        result = drill_ingest(load_settings(), kills=kills, seed=seed, lake=lake, say=console.print)
    _tell(
        result,
        f"[bold]{result.kills} runs and {result.broker_kills} brokers killed[/] in {result.seconds:.0f} s; {result.resumed} plans "
        f"finished for the dead, {result.refused} commits refused to the second of two runs.\n{result.events} events: "
        f"{result.valid} valid, {result.duplicates} duplicates, {result.quarantined} in quarantine; "
        f"{result.lost} lost, {result.duplicated} doubled.",
        as_json=as_json,
    )


@app.command("state")
def state_command(
    losses: Annotated[
        str,
        typer.Option(
            help="Which losses, in turn: wiped, restarted_empty, failed_over, evicted; separated by commas."
        ),
    ] = "wiped,restarted_empty,failed_over,evicted",
    rate: Annotated[float, typer.Option(help="Requests a second.", min=1)] = 40.0,
    calm: Annotated[float, typer.Option(help="Seconds of traffic between two acts.", min=0.5)] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
) -> None:
    """Let Redis lose the online state under HTTP traffic, rebuild it, and recompute every vector served; exit code 1 if any differs."""
    import tempfile
    from pathlib import Path

    from fraud_assets.drills.state import drill_state

    chosen = tuple(name.strip() for name in losses.split(",") if name.strip())
    console = Console(stderr=as_json)
    with _ended_as_by_ctrl_c(), tempfile.TemporaryDirectory(prefix="spearhead-drill-") as folder:
        result = drill_state(
            load_settings(), folder=Path(folder), losses=chosen, rate=rate, calm_s=calm, say=console.print
        )
    _tell(
        result,
        f"{result.requests} requests in {result.seconds:.0f} s, {result.degraded} answers degraded, {result.unanswered} without answer; "
        f"longest fence {result.fence_ms:.0f} ms.\n{result.decisions} decisions in the lake, {result.lost_decisions} lost with "
        f"Redis.\n{result.compared} vectors recomputed: [bold]{result.mismatches} values differ[/]; "
        f"{result.entities_compared} entities compared, {result.entities_differing} differ.",
        as_json=as_json,
    )


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Asked to end, a drill ends its servers too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(result: "DrillResult | StateDrillResult", words: str, *, as_json: bool) -> NoReturn:
    """Print the result, in words or as JSON, and leave with exit code 1 unless all is well."""
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        console = Console()
        console.print(words)
        for problem in result.problems:
            console.print(Text.assemble(("✗ ", "red"), problem))
    raise typer.Exit(0 if result.ok else 1)

"""`spearhead drill`: faults brought about on purpose, and the proof that nothing came of them."""

import json
import signal
from typing import Annotated

import typer
from rich.console import Console

from fraud_core.settings import load_settings

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
    # Asked to end, it ends its Valkey too, as after Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = drill_ingest(load_settings(), kills=kills, seed=seed, lake=lake, say=console.print)
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        console.print(
            f"[bold]{result.kills} runs and {result.broker_kills} brokers killed[/] in {result.seconds:.0f} s; {result.resumed} plans "
            f"finished for the dead, {result.refused} commits refused to the second of two runs.\n{result.events} events: "
            f"{result.valid} valid, {result.duplicates} duplicates, {result.quarantined} in quarantine; "
            f"{result.lost} lost, {result.duplicated} doubled."
        )
        for problem in result.problems:
            console.print(f"[red]✗[/] {problem}")
    raise typer.Exit(0 if result.ok else 1)

"""`spearhead state`: the online feature state from the command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fraud_assets.lake import open_lake
from fraud_assets.online_state.build import OnStep
from fraud_assets.online_state.rebuild import rebuild_state
from fraud_assets.online_state.status import state_status
from fraud_assets.online_state.verify import verify_state
from fraud_assets.runs.client import DagsterClient
from fraud_core.contracts import load_contracts
from fraud_core.features import load_features
from fraud_core.features.moment import moment_text
from fraud_core.log import open_log
from fraud_core.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, help="The online feature state: a cache of the lake's history in Redis."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("rebuild")
def rebuild_command(
    rate: Annotated[
        float,
        typer.Option(help="Keys written a second at most. Default: SPEARHEAD_STATE_REBUILD_RATE.", min=0),
    ] = 0.0,
    reason: Annotated[str, typer.Option(help="Why, for the history of rebuilds.")] = "asked for by command",
    without_model: Annotated[
        bool,
        typer.Option(
            "--without-model",
            help="Also where the declaration lacks features of the live model: payments are decided without one until another is released.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the state anew from the lake into a new epoch, and make that current, while payments are scored.

    One that died is gone on with. While the new epoch takes over, for SPEARHEAD_STATE_FENCE_S at most, payments wait or
    take the failure ladder.
    """
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    console = Console(stderr=True)
    log = open_log(settings)
    try:
        with _shown(console) as on_step:
            build = rebuild_state(
                settings,
                open_lake(settings),
                log,
                contracts,
                features,
                rate=rate or settings.state_rebuild_rate,
                reason=reason,
                without_model=without_model,
                on_step=on_step,
            )
    finally:
        log.close()
    dagster = DagsterClient(settings)
    if dagster.reachable() and dagster.stranger() is None:
        dagster.report("online_state", f"epoch {build.rebuilt.epoch}, by `spearhead state rebuild`")
    found = {
        "epoch": build.rebuilt.epoch,
        "replaced": build.replaced,
        "events": build.rebuilt.events,
        "entities": build.rebuilt.entities,
        "bytes": build.rebuilt.bytes,
        "read_up_to": build.read_up_to,
        "fence_ms": build.fence_ms,
        "attempts": build.attempts,
        "followed": build.followed,
        "resumed": build.resumed,
        "keys_dropped": build.dropped,
        "seconds": build.seconds,
    }
    if as_json:
        print(json.dumps(found))
    else:
        entities = ", ".join(f"{count:,} {name}" for name, count in build.rebuilt.entities.items())
        went_on = ", going on where another stopped" if build.resumed else ""
        console.print(
            f"epoch {build.rebuilt.epoch}: {build.rebuilt.events:,} events, {entities}; {build.followed:,} decisions followed on the "
            f"log, old decisions refused for {build.fence_ms:.0f} ms, {build.seconds:.1f} s in all{went_on}"
        )


@contextmanager
def _shown(console: Console) -> Iterator[OnStep]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def on_step(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=of)
            progress.update(tasks[what], completed=done, total=of)

        yield on_step


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say which epoch is current, whose declaration it belongs to, how large it is, how far behind, and what rebuilds did."""
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    log = open_log(settings)
    try:
        found = state_status(settings, open_lake(settings), log, features)
    finally:
        log.close()
    if as_json:
        print(json.dumps(found, default=str))
    else:
        _show_status(found)
    raise typer.Exit(0 if found["problem"] is None else 1)


def _show_status(found: dict[str, Any]) -> None:
    console = Console()
    if found["problem"]:
        console.print(Text.assemble(("✗ ", "red"), found["problem"]), soft_wrap=True)
    shown = {name: value for name, value in found.items() if not isinstance(value, (dict, list))}
    built_ms = shown.pop("built_at_ms")
    shown |= {
        "epoch": found["epoch"] or "none",
        "built_at": built_ms and moment_text(built_ms),
        "problem": None,
    }
    for name, value in shown.items():
        if value is not None:
            console.print(f"{name.replace('_', ' '):24} {value}", highlight=False, soft_wrap=True)
    for name in ("entities", "behind", "under_way", "durability"):
        if found.get(name):
            console.print(
                f"{name.replace('_', ' '):24} {json.dumps(found[name])}", highlight=False, soft_wrap=True
            )
    table = Table(
        "epoch",
        "replaced",
        "finished",
        "fence ms",
        "followed",
        "events",
        "reason",
        title="rebuilds, the newest first",
    )
    for column in table.columns:
        column.overflow = "fold"
    for row in found["rebuilds"]:
        shown_row = row | {
            "finished_at": moment_text(int(row["finished_at"].timestamp() * 1000)),
            "fence_ms": row["fence_ms"] and round(row["fence_ms"], 1),
        }
        names = ("epoch", "replaced", "finished_at", "fence_ms", "followed", "events", "reason")
        table.add_row(*["" if shown_row[name] is None else str(shown_row[name]) for name in names])
    if found["rebuilds"]:
        console.print(table)


@app.command()
def verify(
    sample: Annotated[
        int, typer.Option(help="How many entities of each kind are compared; 0: all.", min=0)
    ] = 200,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Compare entities online with a fold from Delta and the log, and name what differs; exit code 1 when anything does."""
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    log = open_log(settings)
    try:
        found = verify_state(
            settings, open_lake(settings), log, contracts, features, sample=sample, seed=seed
        )
    finally:
        log.close()
    if as_json:
        print(json.dumps(found.as_dict()))
    else:
        console = Console()
        console.print(
            f"epoch {found.epoch}: {found.compared:,} entities compared, {found.differing} differ, {found.in_flight} changed too "
            f"fast to be compared, {found.expired:,} older than a state is kept",
            soft_wrap=True,
        )
        for difference in found.differences:
            console.print(Text.assemble(("✗ ", "red"), difference), soft_wrap=True)
    raise typer.Exit(0 if found.ok else 1)

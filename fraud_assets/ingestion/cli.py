"""`spearhead ingest` and `spearhead verify`."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fraud_core.settings import load_settings


def ingest(
    streams: Annotated[list[str] | None, typer.Argument(help="Streams to ingest. Default: all.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Keep ingesting for so long. Default: up to the end of the log.", min=0),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the totals as one line of JSON.")] = False,
) -> None:
    """Bring what is on the log into the lake, exactly once, without Dagster."""
    from fraud_assets.ingestion import Commit, run_ingest

    console = Console(stderr=as_json)

    def report(commit: Commit) -> None:
        console.print(
            f"{commit.stream}/{commit.shard}: {commit.events} events, {commit.valid} valid, {commit.violations} in quarantine, "
            f"{commit.duplicates} duplicates, {commit.age_s:.1f} s after the first came in"
        )

    totals = run_ingest(
        load_settings(),
        _checked(streams),
        until="end" if seconds is None else timedelta(seconds=seconds),
        on_commit=report,
    )
    if as_json:
        print(json.dumps(vars(totals)))
    else:
        console.print(
            f"[bold]{totals.events} events[/] in {totals.commits} commits: {totals.valid} valid, {totals.violations} in "
            f"quarantine, {totals.duplicates} duplicates."
        )


def verify(
    manifest: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest of a producer; give those of all producers of a stream."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the proof as one line of JSON.")] = False,
) -> None:
    """Prove that nothing was lost or doubled: log = valid + duplicates + quarantine. Exit code 1 when it is not so."""
    from fraud_assets.ingestion.verify import verify as prove

    result = prove(load_settings(), manifest)
    if as_json:
        print(json.dumps(result.as_dict()))
    else:
        table = Table("", *[Column(name, justify="right") for name in result.streams])
        for what in (
            "events",
            "valid",
            "duplicates",
            "quarantined",
            "pending",
            "replayed",
            "lost",
            "duplicated",
        ):
            table.add_row(what, *[f"{getattr(proof, what):,}" for proof in result.streams.values()])
        console = Console()
        console.print(table)
        for problem in result.problems:
            console.print(Text.assemble(("✗ ", "red"), problem))
        for entity, count in result.unlogged_updates.items():
            console.print(
                f"[yellow]![/] {count} updates of the online state of {entity} have no decision in the lake: payments that failed "
                "after they were applied, or decisions still to be ingested. `spearhead state rebuild` mends the state."
            )
        console.print(
            "[green]✓ Nothing is lost, nothing is doubled.[/]" if result.ok else "[red]Not proved.[/]"
        )
    raise typer.Exit(0 if result.ok else 1)


def _checked(streams: list[str] | None) -> tuple[str, ...]:
    from fraud_assets.lake import STREAMS

    unknown = set(streams or ()) - set(STREAMS)
    if unknown:
        raise typer.BadParameter(
            f"expected streams among {', '.join(STREAMS)}, found {', '.join(sorted(unknown))}"
        )
    return tuple(streams) if streams else STREAMS

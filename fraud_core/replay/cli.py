"""`spearhead replay FILE`: past events from a parquet, csv or ndjson file on the log, in virtual time."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fraud_core.contracts import load_contracts
from fraud_core.errors import SettingsError
from fraud_core.log import open_log
from fraud_core.platform.signals import asked_to_stop
from fraud_core.replay.mapping import load_mapping
from fraud_core.replay.replayer import Pace, Replay
from fraud_core.replay.source import Source, open_source
from fraud_core.settings import load_settings
from fraud_core.simulator.outputs import require_writable
from fraud_core.simulator.spans import parse_span_ms

SHOWN_ROWS = 5


def replay(
    file: Annotated[
        Path, typer.Argument(help="A .parquet, .csv, .ndjson or .jsonl file, or a folder of parquet files.")
    ],
    *,
    contracts: Annotated[
        Path | None,
        typer.Option(help="Contracts folder that describes the events. Default: SPEARHEAD_CONTRACTS."),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="FIELD=SOURCE: a column, column*number, column/number or 'constant'; may be repeated. "
            "Wins over replay.yaml in the contracts folder; other fields take the column of their name.",
        ),
    ] = None,
    label_delay: Annotated[
        str,
        typer.Option(
            help="Time from an event to the report of its label, such as 7d. Default: replay.yaml, else maturity."
        ),
    ] = "",
    rate: Annotated[float, typer.Option(help="Events a second.", min=0)] = 0.0,
    speedup: Annotated[float, typer.Option(help="How many times faster than it happened.", min=0)] = 0.0,
    fastest: Annotated[bool, typer.Option("--max", help="As fast as it goes (the default).")] = False,
    block_events: Annotated[int, typer.Option(help="Events of one block.", min=1, max=100_000)] = 2_000,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Where the manifest for `spearhead verify` goes. Default: <home>/manifests."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Put a file of past events on the log in event order, with labels at the time of their report.

    Events keep their own time: each is known when it happened, each label when it was reported. Running it again, also after
    an interruption, is safe: what was sent before is recognised by its id, counted as a duplicate and kept out of the
    tables. A value that cannot be read stops the replay and names its row; a row that breaks a rule goes to quarantine.
    """
    if sum((rate > 0, speedup > 0, fastest)) > 1:
        raise SettingsError("One of --rate, --speedup and --max was expected; found several. Choose one.")
    settings = load_settings()
    loaded = load_contracts(contracts or settings.contracts)
    frame = open_source(file)
    columns = list(frame.collect_schema())
    delay_ms = parse_span_ms(label_delay) if label_delay else None
    fields = load_mapping(loaded, columns, mapping or (), delay_ms)
    source = Source(frame, loaded, fields)
    total = source.rows()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    manifest = manifest or settings.home_path / "manifests" / f"replay-{stamp}.json"
    require_writable(manifest)
    log = open_log(settings)
    begun = time.perf_counter()
    job = Replay(log, loaded, fields, pace=Pace(rate, speedup), block_events=block_events)
    try:
        with _progress() as progress, asked_to_stop() as stop:
            task = progress.add_task("events", total=total)
            complete = job.run(source, lambda rows: progress.update(task, completed=rows), stop)
    finally:
        job.manifest.save(manifest)
        log.close()
    _report(
        job,
        total,
        stopped=not complete,
        seconds=time.perf_counter() - begun,
        manifest=manifest,
        as_json=as_json,
    )
    if source.timeless:
        shown = ", ".join(f"{row:,}" for row in source.timeless[:SHOWN_ROWS])
        more = ", …" if len(source.timeless) > SHOWN_ROWS else ""
        typer.echo(
            f"{len(source.timeless):,} rows have no {loaded.transactions.event_time} and will be in quarantine: {shown}{more}",
            err=True,
        )
    if not complete:  # what was sent is in the manifest; the next run sends it again, harmlessly
        raise typer.Exit(130)


def _progress() -> Progress:
    columns = [
        TextColumn("events"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())


def _report(job: Replay, total: int, *, stopped: bool, seconds: float, manifest: Path, as_json: bool) -> None:
    counts = job.counts
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "rows": total,
                    "transactions": counts.transactions,
                    "labels": counts.labels,
                    "labels_held_back": counts.labels_held_back,
                    "entries": counts.entries,
                    "seconds": round(seconds, 3),
                    "events_per_s": round(counts.transactions / seconds) if seconds else 0,
                    "complete": not stopped,
                    "manifest": str(manifest),
                }
            )
        )
        return
    held = (
        f"; {counts.labels_held_back:,} labels would be reported in the future and were held back"
        if counts.labels_held_back
        else ""
    )
    typer.echo(
        f"{'Stopped: sent' if stopped else 'Sent'} {counts.transactions:,} of {total:,} transactions and {counts.labels:,} labels "
        f"in {counts.entries:,} entries, {seconds:.1f} s{held}.\nManifest: {manifest}"
    )

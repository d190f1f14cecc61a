"""`spearhead backlog` and `spearhead log create | readers | forget`."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from fraud_core.backlog.measure import STREAMS, Backlog, Gauge, by_reader
from fraud_core.errors import LogError
from fraud_core.log import INGEST, SCORER, Log, Shard, open_log
from fraud_core.settings import Settings, load_settings

COLOURS = {"ok": "green", "high": "yellow", "critical": "red"}

app = typer.Typer(
    no_args_is_help=True,
    help="The log: its topics on Kafka, and its registered readers, for which it keeps what they have not read.",
)


def backlog(
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per look.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    over: Annotated[
        float,
        typer.Option(help="Seconds between two looks, over which rates are taken.", min=0.1, max=86_400),
    ] = 3.0,
) -> None:
    """Show how far every reader of the log is behind, in events: depth, oldest age, rates, time to empty, pressure."""
    settings = load_settings()
    log = open_log(settings)
    try:
        looks = _looks(Gauge(log, settings), over)
        if as_json:
            for rows in looks:
                print(json.dumps(_document(rows, settings)), flush=True)
                if not watch:
                    break
        elif watch:
            with Live(console=Console(), auto_refresh=False) as live:
                for rows in looks:
                    live.update(_table(rows, settings), refresh=True)
        else:
            rows = next(looks)
            console = Console(highlight=False)
            console.print(_table(rows, settings))
            for row in rows:
                if row.alarm:
                    console.print(row.alarm, style="red", markup=False)
    except KeyboardInterrupt:
        return
    finally:
        log.close()


@app.command()
def create(
    partitions: Annotated[
        int, typer.Option(help="Partitions of each topic, the shards of its stream.", min=1)
    ] = 3,
    replication: Annotated[
        int, typer.Option(help="Copies of each partition; -1 takes the brokers' default.", min=-1)
    ] = -1,
    retention_days: Annotated[
        float, typer.Option(help="Days for which Kafka keeps what was appended.", min=0.01)
    ] = 7.0,
) -> None:
    """Create the topics of a log on Kafka, with the settings that they need. A log in Redis needs no such step."""
    settings = load_settings()
    if settings.log != "kafka":
        raise LogError(
            "Only a log on Kafka (SPEARHEAD_LOG=kafka) needs topics; streams in Redis make themselves."
        )
    from fraud_core.log.kafka_connection import connect
    from fraud_core.log.kafka_topics import create_topics

    made = create_topics(
        connect(settings),
        [f"{settings.namespace}.{stream}" for stream in STREAMS],
        partitions=partitions,
        replication=replication,
        settings={"retention.ms": str(int(retention_days * 86_400_000)), "cleanup.policy": "delete"},
    )
    print(f"created: {', '.join(made)}" if made else "All topics were there already.")


@app.command()
def readers(as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False) -> None:
    """List who is registered as a reader, where each one is, and how many events it has still to read."""
    log = open_log(load_settings())
    try:
        found = [
            {
                "stream": stream,
                "shard": shard.number,
                "reader": name,
                "offset": str(offset),
                "events_behind": tally.behind(name),
            }
            for stream, shard in _shards(log)
            for tally in [log.tally(shard)]
            for name, offset in sorted(log.readers(shard).items())
        ]
    finally:
        log.close()
    if as_json:
        print(json.dumps(found))
        return
    table = Table("stream", "reader", "has finished offset", "events behind", box=None)
    for row in found:
        table.add_row(
            f"{row['stream']}/{row['shard']}",
            str(row["reader"]),
            str(row["offset"]),
            f"{row['events_behind']:,}",
        )
    Console(highlight=False).print(table)


@app.command()
def forget(
    reader: Annotated[str, typer.Argument(help="Name of the reader, as `spearhead log readers` gives it.")],
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Drop a reader that will not come back, so that the log need not keep what it has not read."""
    if reader == INGEST:
        raise LogError(
            "ingest cannot be forgotten: what it has not read would be in no table. Start ingestion (`spearhead up` or `spearhead "
            "ingest`); `spearhead backlog` shows how far it is."
        )
    log = open_log(load_settings())
    try:
        known = {
            shard: log.tally(shard).behind(reader)
            for name, shard in _shards(log)
            if stream in (None, name) and reader in log.readers(shard)
        }
        if not known:
            raise LogError(
                f"No reader {reader!r} is registered{f' at {stream}' if stream else ''}; `spearhead log readers` lists those that are."
            )
        waiting = sum(known.values())
        console = Console(stderr=True, highlight=False)
        console.print(
            f"{reader} has still to read {waiting:,} events of {', '.join(map(str, known))}. Once it is forgotten they are removed from "
            "the log as soon as all others have read them, and it will never see them.",
            style="yellow",
        )
        if reader == SCORER and waiting:
            console.print(
                "These payments will not be scored. They reach the lake all the same; to have them in the online state, "
                "rebuild it: spearhead state rebuild",
                style="yellow",
            )
        if not yes:
            typer.confirm(f"Forget {reader}?", abort=True, err=True)
        for shard in known:
            log.forget_reader(shard, reader)
        console.print(
            f"Forgotten. Should {reader} start again, it begins at the oldest entry that is still there."
        )
    finally:
        log.close()


def _shards(log: Log) -> Iterator[tuple[str, Shard]]:
    for stream in STREAMS:
        for shard in log.existing_shards(stream):
            yield stream, shard


def _looks(gauge: Gauge, over_s: float) -> Iterator[list[Backlog]]:
    """Looks with rates, one every `over_s` seconds."""
    gauge.look()
    while True:
        time.sleep(over_s)
        yield gauge.look()


def _document(rows: Sequence[Backlog], settings: Settings) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "readers": [
            {**asdict(each), "time_to_empty_s": each.time_to_empty_s} for each in by_reader(rows, settings)
        ],
        "shards": [{**asdict(row), "time_to_empty_s": row.time_to_empty_s} for row in rows],
    }


def _table(rows: Sequence[Backlog], settings: Settings) -> Table:
    # Headers of two lines: with ones of one line, rows would lose their names on a terminal of 80 columns.
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("", "reader"):
        table.add_column(column, no_wrap=True)
    for column in (
        "events\nbehind",
        "oldest",
        "arrived\nper s",
        "drained\nper s",
        "empty\nin",
        "entries\nheld",
        "pressure",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{row.stream}/{row.shard}", row.reader, *_cells(row), f"{row.entries_held:,}", _level(row.level)
        )
    for total in by_reader(rows, settings):
        table.add_row("[bold]all", total.reader, *_cells(total), "", _level(total.level))
    return table


def _cells(row: Any) -> tuple[str, ...]:
    empty = row.time_to_empty_s
    growing = row.arrived_per_s is not None and empty is None
    return (
        f"{row.events:,}",
        f"{row.oldest_age_s:,.0f} s" if row.events else "",
        *("" if rate is None else f"{rate:,.0f}" for rate in (row.arrived_per_s, row.drained_per_s)),
        "never" if growing else "" if not empty else f"{empty:,.0f} s",
    )


def _level(level: str) -> str:
    return f"[{COLOURS[level]}]{level}[/]"

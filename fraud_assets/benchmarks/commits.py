"""`spearhead bench commits`: does a commit still take as long after thousands of others? On a table kept up as ingestion does.

Each commit is what a plan does to one table: open it afresh, look up the shard's version, append with the next one; each
hundredth compacts. Without upkeep of the log the time would grow with every commit: `--without-upkeep` shows that.
"""

import json
import statistics
import tempfile
import time
from datetime import date, timedelta
from typing import Annotated, Any, Final

import polars as pl
import typer
from rich.console import Console
from rich.table import Table

from fraud_assets.lake import Lake, compact
from fraud_assets.lake.files import prune_log, state_of

_GRACE: Final = timedelta(seconds=1)
"""Commits follow each other here some sixty times as fast as an ingest run's, and nobody else reads: its minute of grace
would keep two thousand of them in the log."""
_SCHEMA = {"id": pl.String(), "amount": pl.Int64(), "event_date": pl.Date()}


def commits(
    count: Annotated[int, typer.Option("--count", min=20, help="Commits.")] = 5_000,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each commit.")] = 1_000,
    every: Annotated[int, typer.Option(min=2, help="Commits after which the table is compacted.")] = 100,
    without_upkeep: Annotated[
        bool, typer.Option("--without-upkeep", help="Never compact, never cut the log.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Measure whether the time of a commit stays flat over thousands of commits."""
    with tempfile.TemporaryDirectory(prefix="spearhead-commits-") as place:
        found = measure(Lake(place), count, rows, every=None if without_upkeep else every)
    if as_json:
        print(json.dumps(found))
        return
    table = Table("commits", box=None)
    for column in ("median ms", "p95 ms", "CPU ms"):
        table.add_column(column, justify="right")
    for part in found["parts"]:
        table.add_row(
            f"{part['first']} to {part['last']}",
            *(f"{part[name]:.1f}" for name in ("median_ms", "p95_ms", "cpu_ms")),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"CPU time of a commit, last tenth to second: {found['cpu_growth']:.2f}. Log: {found['log_files']} files; compactions took "
        f"{found['compaction_share']:.0%} of the time."
    )


def measure(lake: Lake, count: int, rows: int, *, every: int | None) -> dict[str, Any]:
    """Make the commits; medians by tenths. Growth is in CPU time: what else runs on the machine does not show in it.

    The first tenth is left out of the growth: until the log is cut for the first time, it is shorter than ever after.
    """
    lake.create("commits", _SCHEMA, ["event_date"])
    frame = pl.DataFrame(
        {
            "id": [f"tx-{row:08d}" for row in range(rows)],
            "amount": range(rows),
            "event_date": [date(2026, 1, 1)] * rows,
        },
        schema=_SCHEMA,
    )
    wall, cpu, compacting = [], [], 0.0
    for number in range(1, count + 1):
        began, cpu_began = time.perf_counter(), time.process_time()
        table = lake.table("commits")
        if lake.committed(table, "shard") != number - 1:
            raise AssertionError(f"commit {number} follows {lake.committed(table, 'shard')}")
        lake.append(table, frame, {"shard": number})
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - cpu_began) * 1000)
        if every and number % every == 0:
            began = time.perf_counter()
            compact(lake, "commits")
            prune_log(lake, "commits", grace=_GRACE)
            compacting += time.perf_counter() - began
    size = count // 10
    parts = [
        {
            "first": start + 1,
            "last": start + size,
            "median_ms": statistics.median(wall[start : start + size]),
            "p95_ms": statistics.quantiles(wall[start : start + size], n=20)[-1],
            "cpu_ms": statistics.median(cpu[start : start + size]),
        }
        for start in range(0, size * 10, size)
    ]
    state = state_of(lake, "commits")
    return {
        "commits": count,
        "rows": state.rows,
        "median_ms": statistics.median(wall),
        "cpu_growth": parts[-1]["cpu_ms"] / parts[1]["cpu_ms"],
        "wall_growth": parts[-1]["median_ms"] / parts[1]["median_ms"],
        "compaction_share": compacting * 1000 / (sum(wall) + compacting * 1000),
        "files": state.files,
        "log_files": state.log_files,
        "parts": parts,
    }

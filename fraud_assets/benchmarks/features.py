"""`spearhead bench features`: what features cost, offline and online, beside other means of computing the windows.

Offline: the whole default set over made-up payments, in CPU seconds, streamed where they do not fit into the memory allowed; in the same run polars' rolling expressions and DuckDB's window
functions compute the plain window aggregates among them. Online: one payment's entities applied and read in one round trip, at
several lengths of history; a PING of the same server in the same run tells what the machine is worth. `mismatches` counts the values in which offline and online differ over a short history: 0.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from fraud_assets.benchmarks.apart import apart
from fraud_assets.benchmarks.figures import today
from fraud_assets.benchmarks.ingest import machine
from fraud_assets.benchmarks.offline import default_set, offline, write_payments
from fraud_assets.benchmarks.online import AT_EVENTS, mismatches, online_figures, ping_us
from fraud_assets.benchmarks.rivals import Window, duckdb_windows, polars_rolling, windows_of
from fraud_assets.benchmarks.snapshots import snapshot_figures

_TYPICAL: Final = 25
"""Events per entity at which transactions per Redis core are stated."""


def features(
    *,
    rows: Annotated[int, typer.Option(help="Payments, offline.", min=10_000)] = 5_000_000,
    accounts: Annotated[int, typer.Option(help="Accounts among them.", min=10)] = 50_000,
    merchants: Annotated[int, typer.Option(help="Merchants among them.", min=10)] = 10_000,
    at: Annotated[
        list[int] | None, typer.Option(help="Events per entity, online. Default: 10, 25, 200, 5000, 100000.")
    ] = None,
    calls: Annotated[int, typer.Option(help="Payments measured at each length, online.", min=100)] = 3_000,
    memory_mib: Annotated[
        int,
        typer.Option(
            help="MiB that the offline half may take; more is streamed. 0: half of this machine's.", min=0
        ),
    ] = 0,
    times: Annotated[
        int,
        typer.Option(
            help="Measure offline that many times the payments as well, of the same entities: does the cost stay linear?",
            min=1,
        ),
    ] = 1,
    snapshots: Annotated[
        bool,
        typer.Option(help="Measure one day after that many payments as well, with and without a snapshot."),
    ] = False,
    rivals: Annotated[bool, typer.Option(help="Run polars' rolling and DuckDB as well.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the payments.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one line of JSON.")] = False,
) -> None:
    """Measure features: offline CPU and memory beside polars and DuckDB, online CPU and latency, and their agreement."""
    console = Console(stderr=True)
    declared = default_set()
    memory = memory_mib << 20 if memory_mib else _half_of_the_machine()
    windows = windows_of(declared)
    with tempfile.TemporaryDirectory(prefix="spearhead-bench-") as folder:
        file = Path(folder) / "payments.parquet"
        console.print(f"{rows:,} payments of {accounts:,} accounts at {merchants:,} merchants …")
        apart(write_payments, file, rows, accounts, merchants, seed)
        console.print(f"{len(declared.names)} features offline …")
        used = apart(offline, file, memory)
        found: dict[str, Any] = {
            "rows": rows,
            "features": len(declared.names),
            "cpu_s": round(used["cpu_s"], 2),
            "wall_s": round(used["wall_s"], 2),
            "rows_per_s": round(rows / used["wall_s"]),
            "peak_rss_mib": round(used["peak_rss_mib"]),
            "memory_mib": memory >> 20,
            "streamed": bool(used["streamed"]),
            "window_aggregates": len(windows),
            "polars_rolling_cpu_s": None,
            "duckdb_cpu_s": None,
        }
        if times > 1:
            console.print(f"{rows * times:,} payments of the same …")
            larger = Path(folder) / "larger.parquet"
            apart(write_payments, larger, rows * times, accounts, merchants, seed)
            found["larger"] = _beside(used["cpu_s"] / rows, apart(offline, larger, memory), rows * times)
        if rivals:
            found |= _rivals(console, file, windows, declared.contract.event_time)
    if snapshots:
        console.print("a day after them, from a snapshot and from the history …")
        found["day"] = snapshot_figures(rows, accounts, merchants, memory_mib << 20 or None, seed)
    console.print("online …")
    online = online_figures(declared, at or AT_EVENTS, calls)
    typical = next((each for each in online if each["events_per_entity"] == _TYPICAL), online[0])
    found |= {
        "mismatches": mismatches(declared, seed),
        "transactions_per_redis_core_s": round(1e6 / typical["server_saturated_us"]),
        "ping_saturated_us": ping_us(),
        "online": online,
        "seed": seed,
        "date": today(),
        "machine": machine(),
    }
    if as_json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            console.print(f"{name:30} {value}")


def _beside(each: float, used: dict[str, float], rows: int) -> dict[str, Any]:
    """A larger run beside one whose payments took `each` CPU seconds: 1 is linear."""
    return {
        "rows": rows,
        "cpu_s": round(used["cpu_s"], 2),
        "cpu_per_payment_ratio": round(used["cpu_s"] / rows / each, 2),
        "peak_rss_mib": round(used["peak_rss_mib"]),
        "streamed": bool(used["streamed"]),
    }


def _rivals(console: Console, file: Path, windows: list[Window], time: str) -> dict[str, Any]:
    console.print(f"{len(windows)} of its window aggregates by polars and DuckDB …")
    polars = apart(polars_rolling, file, time, windows)
    found: dict[str, Any] = {
        "polars_rolling_cpu_s": round(polars["cpu_s"], 2),
        "polars_rolling_peak_rss_mib": round(polars["peak_rss_mib"]),
    }
    try:
        duckdb = apart(duckdb_windows, file, time, windows)
    except ImportError:
        console.print("DuckDB is not installed (pip install duckdb): its figure is left out.")
        return found
    return found | {
        "duckdb_cpu_s": round(duckdb["cpu_s"], 2),
        "duckdb_peak_rss_mib": round(duckdb["peak_rss_mib"]),
    }


def _half_of_the_machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

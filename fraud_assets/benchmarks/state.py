"""`spearhead bench state`: what making the online state anew costs, in processor seconds, memory and keys.

A lake of made-up payments with some labels and a Valkey of its own; the rebuild is the real one, in a process of its own, so that its
peak memory is its own too. Nothing is scored meanwhile: what a handover costs is in `spearhead drill state`.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Final

import polars as pl
import typer
from rich.console import Console

from fraud_assets.benchmarks.apart import Used, apart
from fraud_assets.benchmarks.figures import today
from fraud_assets.benchmarks.ingest import machine
from fraud_assets.benchmarks.offline import DAYS
from fraud_assets.benchmarks.payments import frauds, payments
from fraud_assets.ingestion import create_tables
from fraud_assets.lake import open_lake
from fraud_assets.lake.lake import schema_of
from fraud_assets.lake.schemas import STREAMS, TRANSACTIONS
from fraud_assets.online_state import rebuild_state
from fraud_core.contracts import load_contracts
from fraud_core.features import load_features
from fraud_core.log import open_log
from fraud_core.log.valkey import start_valkey
from fraud_core.settings import PACKAGED_CONTRACTS, Settings, load_settings

_COMMIT_ROWS: Final = 500_000


def state(
    *,
    rows: Annotated[int, typer.Option(help="Payments in the lake.", min=1_000)] = 1_000_000,
    accounts: Annotated[int, typer.Option(help="Accounts among them.", min=10)] = 50_000,
    merchants: Annotated[int, typer.Option(help="Merchants among them.", min=10)] = 10_000,
    memory_mib: Annotated[
        int, typer.Option(help="SPEARHEAD_FEATURE_MEMORY_MIB of the rebuild.", min=64)
    ] = 4096,
    seed: Annotated[int, typer.Option(help="Seed of the payments.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one line of JSON.")] = False,
) -> None:
    """Measure a rebuild of the online state: CPU, peak memory, keys and bytes in Redis."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="spearhead-bench-") as name:
        folder = Path(name)
        server = start_valkey(folder / "valkey", 0, appendfsync="no")
        try:
            console.print(f"{rows:,} payments of {accounts:,} accounts at {merchants:,} merchants …")
            settings = _settings(folder, server.url, memory_mib)
            apart(fill_lake, settings, rows, accounts, merchants, seed)
            console.print("the state of all their entities …")
            used = apart(rebuild, settings)
        finally:
            server.stop()
    figures = {name: round(value, 2 if name.endswith("_s") else None) for name, value in used.items()}
    found = {
        "rows": rows,
        "memory_mib": memory_mib,
        **figures,
        "cpu_s_per_million_rows": round(used["cpu_s"] / rows * 1e6, 1),
        "cpu_s_per_million_entities": round(used["cpu_s"] / used["entities"] * 1e6, 1),
        "seed": seed,
        "date": today(),
        "machine": machine(),
    }
    if as_json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            console.print(f"{name:30} {value}")


def _settings(folder: Path, redis_url: str, memory_mib: int) -> Settings:
    return load_settings().changed(
        home=folder / "home", lake="", log="redis", redis_url=redis_url, namespace="bench",
        contracts=PACKAGED_CONTRACTS, feature_memory_mib=memory_mib, feature_temp=str(folder),
    )  # fmt: skip


def fill_lake(settings: Settings, rows: int, accounts: int, merchants: int, seed: int) -> dict[str, float]:
    """Payments of 90 days and labels of some, as ingestion would have left them."""
    contracts = load_contracts(settings.contracts)
    lake = open_lake(settings)
    create_tables(lake, contracts, STREAMS)
    for first in range(0, rows, _COMMIT_ROWS):
        count = min(_COMMIT_ROWS, rows - first)
        days = DAYS * count / rows
        frame = payments(
            contracts.transactions, count, accounts, merchants,
            days=days, seed=seed + first, first=first, after_days=DAYS * first / rows,
        )  # fmt: skip
        for table, found in (
            (TRANSACTIONS, frame),
            ("labels", _labels(contracts.transactions.event_id, contracts.labels.event_id, frame, settings)),
        ):
            handle = lake.table(table)
            lake.append(handle, _as_rows(found, schema_of(handle), table))
    return {}


def _labels(event_id: str, named: str, frame: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    contract = load_contracts(settings.contracts).transactions
    return frauds(contract, frame).rename({event_id: named}, strict=False)


def _as_rows(frame: pl.DataFrame, schema: pl.Schema, stream: str) -> pl.DataFrame:
    """With every column of a table; those that the payments lack are empty."""
    made = {
        "_stream": pl.lit(stream),
        "_shard": pl.lit(0),
        "_incarnation": pl.lit("bench"),
        "_offset": pl.int_range(pl.len()) + 1,
        "_index": pl.lit(0),
        "event_date": pl.col("event_ts").dt.date(),
    }
    columns = [
        (pl.col(name) if name in frame.columns else made.get(name, pl.lit(None))).cast(dtype).alias(name)
        for name, dtype in schema.items()
    ]
    return frame.select(columns)


def rebuild(settings: Settings) -> dict[str, float]:
    """Make the state anew; what that took."""
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    log = open_log(settings)
    try:
        with Used() as used:
            build = rebuild_state(settings, open_lake(settings), log, contracts, features, reason="bench")
    finally:
        log.close()
    entities = sum(build.rebuilt.entities.values())
    return {
        **used.figures,
        "entities": entities,
        "state_bytes": build.rebuilt.bytes,
        "events": build.rebuilt.events,
    }

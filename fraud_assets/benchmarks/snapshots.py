"""One day of features after a quarter's payments: from the history, and from a snapshot of what it leaves. For `spearhead bench features`."""

import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from fraud_assets.benchmarks.apart import Used, apart
from fraud_assets.benchmarks.offline import default_set
from fraud_assets.benchmarks.payments import START_MS, frauds, payments
from fraud_assets.features import FEATURES, Room, build_features
from fraud_assets.features.reading import direct_bytes
from fraud_assets.lake import Lake
from fraud_assets.lake.schemas import TRANSACTIONS, main_schema
from fraud_core.contracts import load_contracts
from fraud_core.features import load_features
from fraud_core.settings import PACKAGED_CONTRACTS

_DAYS: Final = 92
_FIRST: Final = date(1970, 1, 1) + timedelta(milliseconds=START_MS)


def snapshot_figures(
    rows: int, accounts: int, merchants: int, memory: int | None, seed: int
) -> dict[str, Any]:
    """CPU seconds and payments folded for one day after `rows` payments of 92 days, each build in a process of its own.

    `memory`: bytes allowed, else a quarter of what the payments take at once: what fits needs no snapshot.
    from_history: as without snapshots. leaving_one: the first build with them, from the history too. next_day: from that snapshot, over two
    days, leaving another. same_day: from that one, leaving none. `mismatches`: values that differ from those of the history.
    """
    with tempfile.TemporaryDirectory(prefix="spearhead-bench-") as folder:
        apart(_fill, folder, rows, accounts, merchants, seed)
        before, last = _FIRST + timedelta(days=_DAYS - 2), _FIRST + timedelta(days=_DAYS - 1)
        schema = Lake(f"{folder}/lake").scan(TRANSACTIONS).collect_schema()
        memory = memory or rows * direct_bytes(default_set(), schema) // 4
        found: dict[str, Any] = {"rows": rows, "memory_mib": memory >> 20, "mismatches": 0}
        builds = (
            ("leaving_one", before, True), ("next_day", last, True), ("same_day", last, True), ("from_history", last, False),
        )  # fmt: skip
        for name, day, snapshots in builds:
            used = apart(_build, folder, day, memory, snapshots)
            found[name] = {
                "cpu_s": round(used["cpu_s"], 2),
                "wall_s": round(used["wall_s"], 2),
                "peak_rss_mib": round(used["peak_rss_mib"]),
                "folded": int(used["folded"]),
            }
            went_on = name in {"next_day", "same_day"}
            if bool(used["went_on"]) != went_on:
                raise AssertionError(f"{name}: expected to go on from a snapshot: {went_on}")
            if name != "leaving_one":
                values = Lake(f"{folder}/lake").scan(FEATURES).filter(pl.col("event_date") == day)
                frame = values.sort("transaction_id").collect()
                if name == "next_day":
                    first = frame
                found["mismatches"] += _mismatches(first, frame)
        return found


def _fill(folder: str, rows: int, accounts: int, merchants: int, seed: int) -> dict[str, float]:
    contracts = load_contracts(PACKAGED_CONTRACTS)
    contract, lake = contracts.transactions, Lake(f"{folder}/lake")
    schema = main_schema(contracts, TRANSACTIONS)
    bounds = ("_stream", "_shard", "_incarnation", "_offset", "known_at", contract.event_time)
    lake.create(TRANSACTIONS, schema, partition_by=["event_date"], statistics=bounds)
    labels = main_schema(contracts, "labels")
    lake.create("labels", labels, partition_by=["event_date"])
    each = rows // _DAYS
    for day in range(_DAYS):
        frame = payments(
            contract, each, accounts, merchants, days=1, seed=seed + day, first=each * day, after_days=day
        )
        known = frauds(contract, frame)
        frame = frame.with_columns(
            event_date=pl.col(contract.event_time).dt.date(),
            _stream=pl.lit(TRANSACTIONS),
            _incarnation=pl.lit("bench"),
        )
        lake.append(lake.table(TRANSACTIONS), _complete(frame, schema))
        known = known.rename({contract.event_id: contracts.labels.event_id}, strict=False)
        known = known.with_columns(event_date=pl.col("known_at").dt.date())
        lake.append(lake.table("labels"), _complete(known, labels))
    return {}


def _complete(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )


def _build(folder: str, day: date, memory: int, snapshots: bool) -> dict[str, float]:
    contracts = load_contracts(Path(PACKAGED_CONTRACTS))
    features = load_features(contracts.features_path, contracts)
    lake = Lake(f"{folder}/lake")
    quiet = _FIRST - timedelta(days=9)
    build_features(lake, contracts, features, quiet, quiet)  # what is loaded once
    with Used() as used:
        built = build_features(lake, contracts, features, day, day, Room(memory, folder, snapshots))
    return {**used.figures, "folded": float(built.folded), "went_on": float(built.start is not None)}


def _mismatches(wanted: pl.DataFrame, found: pl.DataFrame) -> int:
    if wanted.height != found.height:
        return max(wanted.height, found.height)
    return sum(int(wanted[name].ne_missing(found[name]).sum()) for name in wanted.columns)

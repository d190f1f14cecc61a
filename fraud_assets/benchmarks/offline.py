"""The offline half of `spearhead bench features`: made-up payments in a file, and the default set's features of all of them.

As in production, they are held at once where they fit into the memory allowed, and streamed through a temporary folder where not.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from fraud_assets.benchmarks.apart import Used
from fraud_assets.benchmarks.payments import frauds, payments
from fraud_assets.features.reading import Reading, direct_bytes
from fraud_assets.features.streamed import Sources, StreamedFeatures
from fraud_assets.lake.schemas import TRANSACTIONS
from fraud_core.contracts import load_contracts
from fraud_core.features import FeatureSet, compute_offline, load_features
from fraud_core.settings import PACKAGED_CONTRACTS

DAYS: Final = 90
_WARM_UP: Final = 2_000
_PART: Final = 5_000_000
"""Payments made at a time."""


def default_set() -> FeatureSet:
    """The features of the packaged contracts."""
    contracts = load_contracts(PACKAGED_CONTRACTS)
    return load_features(contracts.features_path, contracts)


def write_payments(file: Path, rows: int, accounts: int, merchants: int, seed: int) -> dict[str, float]:
    """Write `rows` payments of 90 days, in the order of their times."""
    contract = default_set().contract
    parts = -(-rows // _PART)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        for part in range(parts):
            first, last = rows * part // parts, rows * (part + 1) // parts
            frame = payments(
                contract, last - first, accounts, merchants,
                days=DAYS / parts, seed=seed + part, first=first, after_days=DAYS / parts * part,
            )  # fmt: skip
            frame.write_parquet(Path(folder) / f"{part:04d}.parquet")
        pl.scan_parquet(f"{folder}/*.parquet").sink_parquet(file, row_group_size=250_000)
    return {}


def offline(file: Path, memory: int) -> dict[str, float]:
    """What computing the default set over the payments of a file takes; `memory`: bytes allowed."""
    declared = default_set()
    source = pl.scan_parquet(file)
    rows = int(source.select(pl.len()).collect().item())
    head = source.head(_WARM_UP).collect()
    compute_offline(
        declared, head, frauds(declared.contract, head).head(10)
    )  # compiled before the clock runs
    streamed = rows * direct_bytes(declared, source.collect_schema()) > memory
    done = _streamed(declared, file, rows, memory) if streamed else _at_once(declared, file)
    return {**done, "streamed": float(streamed)}


def _at_once(declared: FeatureSet, file: Path) -> dict[str, float]:
    events = pl.read_parquet(file)
    labels = frauds(declared.contract, events)
    with Used() as used:
        values = compute_offline(declared, events, labels)
    if values.height != events.height or np.isinf(values[:, 1:].sum().to_numpy()).all():
        raise AssertionError("a row of features per payment was expected")
    return used.figures


def _streamed(declared: FeatureSet, file: Path, rows: int, memory: int) -> dict[str, float]:
    time = pl.col(declared.contract.event_time)
    events = pl.scan_parquet(file).with_columns(
        event_date=time.dt.date(), _stream=pl.lit(TRANSACTIONS), _incarnation=pl.lit("bench")
    )
    narrow = events.select(declared.contract.event_id, declared.contract.event_time)
    labels = frauds(declared.contract, narrow.collect(engine="streaming"))
    per_day = dict(events.group_by("event_date").len().collect(engine="streaming").iter_rows())
    known_from = datetime(2000, 1, 1, tzinfo=UTC)
    first, last = min(per_day), max(per_day)
    reading = Reading(first, last, known_from, pl.lit(value=True), {})
    dated = labels.lazy().with_columns(event_date=time.dt.date())
    with tempfile.TemporaryDirectory(prefix="spearhead-bench-", dir=file.parent) as folder, Used() as used:
        sources = Sources(events, dated, rows, per_day)
        made = StreamedFeatures(declared, reading, sources, memory, Path(folder))
        found = sum(frame.height for frame in made.chunk_frames())
    if found != rows:
        raise AssertionError(f"{rows} rows of features were expected, {found} came")
    return used.figures

"""A small simulated past on the log, and decisions about payments as the service would log them."""

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import redis

from fraud_assets.ingestion import run_ingest
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.features import FeatureSet, OnlineState, load_features
from fraud_core.log import json_entry, open_log
from fraud_core.settings import Settings, load_settings
from fraud_core.simulator import History, World, WorldSpec
from fraud_core.simulator.live import Live
from fraud_core.simulator.producer import Producer
from fraud_core.simulator.rhythm import DAY_MS
from fraud_core.simulator.wire import to_json

WORLD = WorldSpec(seed=5, accounts=300, merchants=150, events_per_day=200, fraud_share=0.06)
END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def produce_past(settings: Settings, days: int, faults: float = 0.0) -> History:
    """Put the world's last `days` before END on the log."""
    until_ms = int(END.timestamp() * 1000)
    history = History(World(WORLD), until_ms - days * DAY_MS, until_ms, faults)
    log = open_log(settings)
    try:
        producer = Producer(log, block_events=500)
        for chunk in history.chunks():
            producer.send(chunk)
    finally:
        log.close()
    return history


def ingested_past(settings: Settings, days: int) -> Settings:
    """The same settings, with a lake that holds the past."""
    produce_past(settings, days)
    run_ingest(settings)
    return settings


def with_lake_of(settings: Settings, template: Settings) -> Settings:
    """The settings with a copy of the other's lake, so that a test may change it."""
    shutil.copytree(template.lake_uri, settings.lake_uri)
    return settings


def declarations(settings: Settings) -> tuple[Contracts, FeatureSet]:
    files = sorted(settings.contracts.iterdir())
    return _declared(settings.contracts, tuple((path.name, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=4)
def _declared(folder: Path, _files: tuple[tuple[str, int], ...]) -> tuple[Contracts, FeatureSet]:
    """Read once as long as nobody changes them: a second for each question would be most of many a test."""
    contracts = load_contracts(folder)
    return contracts, load_features(contracts.features_path, contracts)


def now_payments(count: int) -> list[dict[str, Any]]:
    """Payments of the world that happen now."""
    now_ms = int(time.time() * 1000)
    rows = Live(World(WORLD), now_ms - 60_000).step(now_ms - 60_000, now_ms, count).transactions
    return [json.loads(body) for body in to_json(rows.head(count))]  # a moment full of fraud has more


def decide(settings: Settings, payments: list[dict[str, Any]], *, in_time: bool = False) -> np.ndarray:
    """Apply payments to the online state and log a decision about each, known now, or `in_time` when it happened; returns the
    vectors served."""
    contracts, features = declarations(settings)
    log = open_log(settings)
    client = redis.Redis.from_url(settings.redis_address)
    try:
        state = OnlineState(client, features, settings.namespace)
        state.load()
        applied = [state.apply(payment, payment["transaction_id"]) for payment in payments]
        entries = []
        for payment, each in zip(payments, applied, strict=True):
            vector = [None if np.isnan(value) else float(value) for value in each.vector]
            record = contracts.decisions.example() | {
                "transaction_id": payment["transaction_id"],
                "event_ts": payment["event_ts"],
                "epoch": each.epoch,
                "seqs": each.seqs,
                "vector": vector,
                "feature_set_hash": features.hash,
                "event": payment,
            }
            at_ms = int(datetime.fromisoformat(payment["event_ts"]).timestamp() * 1000)
            entries.append(json_entry(json.dumps(record).encode(), at_ms if in_time else None))
        log.append("decisions", entries)
    finally:
        client.close()
        log.close()
    return np.stack([each.vector for each in applied])


def own_settings(home: Path, redis_url: str, **more: Any) -> Settings:
    return load_settings(_env_file=None, home=home, redis_url=redis_url, **more)


def same_values(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Equal, NaN equal to NaN."""
    return left.equals(right, null_equal=True)

"""A little data set that has everything features can meet: ties, late events, pauses, nulls, two entities, labels, corrections."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from fraud_core.features import FeatureSet, load_features

START = datetime(2026, 3, 1, tzinfo=UTC)

DECLARATION = """
version: 1
answer_ttl: 10m
entities:
  payer: {history: 6h, remember: 6}
  shop: {history: 2d, remember: 40}
  site: {history: 2d, layout: buckets, resolution: 12}
filters:
  web: {kind: [web, phone]}
  flagged: {flag: true, kind: shop}
features:
  amount: {field: {of: amount}, reason: r}
  degrees: {field: {of: degrees}, reason: r}
  degrees_in_units: {field: {of: degrees, unit: 0.5}, reason: r}
  flag: {field: {of: flag}, reason: r}
  kind: {category: {of: kind}, reason: r}
  kind_bucket: {category: {of: kind, as: buckets, buckets: 7}, reason: r}
  code: {category: {of: code, as: digits}, reason: r}
  hour: {hour: {}, reason: r}
  weekday: {weekday: {}, reason: r}
  night: {night: {from: 22, to: 5}, reason: r}
  lunch: {night: {from: 11, to: 14}, reason: r}
  has_shop: {present: {of: shop}, reason: r}
  kind_is_code: {differs: {left: kind, right: code}, reason: r}
  age: {days_since: {date: since}, reason: r}
  home: {distance: {from: [home_lat, home_lon], to: [lat, lon]}, reason: r}
  "payer_count_{window}": {count: {entity: payer}, windows: [10m, 1h, 6h], reason: "in {window}"}
  "shop_count_{window}": {count: {entity: shop}, windows: [30s, 1d], reason: "in {window}"}
  payer_web: {count: {entity: payer, window: 2h, where: web}, reason: r}
  shop_flagged: {count: {entity: shop, window: 1d, where: flagged}, reason: r}
  shop_count_before: {count: {entity: shop, window: 1d, lag: 1h}, reason: r}
  payer_sum: {sum: {entity: payer, of: amount, window: 1h}, reason: r}
  payer_sum_web: {sum: {entity: payer, of: amount, window: 6h, where: web}, reason: r}
  shop_degrees: {sum: {entity: shop, of: degrees, unit: 0.001, window: 1d, lag: 2h}, reason: r}
  payer_mean: {mean: {entity: payer, of: amount, window: 6h}, reason: r}
  payer_mean_past: {mean: {entity: payer, of: amount, window: 6h, past: true}, reason: r}
  shop_mean_before: {mean: {entity: shop, of: amount, window: 1d, lag: 1h}, reason: r}
  payer_max: {max: {entity: payer, of: amount, window: 1h}, reason: r}
  shop_max: {max: {entity: shop, of: amount, window: 3h}, reason: r}
  shop_max_web: {max: {entity: shop, of: degrees, unit: 0.01, window: 1d, where: web}, reason: r}
  payer_std: {std: {entity: payer, of: amount, window: 6h}, reason: r}
  shop_std: {std: {entity: shop, of: degrees, unit: 0.01, window: 1d, past: true}, reason: r}
  payer_z: {zscore: {entity: payer, of: amount, window: 6h}, reason: r}
  shop_z: {zscore: {entity: shop, of: amount, window: 2d}, reason: r}
  payer_kinds: {distinct: {entity: payer, of: kind, window: 1h}, reason: r}
  payer_shops: {distinct: {entity: payer, of: shop, window: 6h}, reason: r}
  shop_payers: {distinct: {entity: shop, of: payer, window: 1d}, reason: r}
  shop_payers_web: {distinct: {entity: shop, of: payer, window: 1d, where: web}, reason: r}
  payer_last: {since_last: {entity: payer}, reason: r}
  shop_last: {since_last: {entity: shop}, reason: r}
  payer_far: {distance_from_last: {entity: payer, at: [lat, lon]}, reason: r}
  payer_speed: {speed: {entity: payer, at: [lat, lon]}, reason: r}
  payer_new_shop: {first_seen: {entity: payer, of: shop}, reason: r}
  payer_same_kind: {since_same: {entity: payer, of: kind}, reason: r}
  shop_same_code: {since_same: {entity: shop, of: code}, reason: r}
  ratio: {ratio: {of: amount, over: payer_mean_past, empty: 1}, reason: r}
  across: {ratio: {of: payer_sum, over: shop_mean_before, empty: -1}, reason: r}
  "payer_frauds_{window}": {frauds: {entity: payer}, windows: [1h, 6h], reason: "in {window}"}
  shop_frauds_before: {frauds: {entity: shop, window: 1d, lag: 3h}, reason: r}
  shop_rate: {fraud_rate: {entity: shop, window: 1d}, reason: r}
  shop_rate_before: {fraud_rate: {entity: shop, window: 1d, lag: 3h, empty: -1}, reason: r}
  payer_since_fraud: {since_fraud: {entity: payer}, reason: r}
  shop_since_fraud: {since_fraud: {entity: shop}, reason: r}
  shop_fraud_run: {since_fraud: {entity: shop, which: oldest, window: 1d}, reason: r}
  shop_clean: {clean_since_fraud: {entity: shop, older_than: 2h}, reason: r}
  payer_median: {median: {entity: payer, of: amount, window: 6h}, reason: r}
  payer_median_past: {median: {entity: payer, of: amount, window: 6h, past: true}, reason: r}
  payer_median_web: {median: {entity: payer, of: amount, window: 1h, where: web}, reason: r}
  shop_p95: {quantile: {entity: shop, of: amount, at: 0.95, window: 1d}, reason: r}
  shop_p10_past: {quantile: {entity: shop, of: degrees, unit: 0.01, at: 0.1, window: 2d, past: true}, reason: r}
  "site_count_{window}": {count: {entity: site}, windows: [30s, 1h, 1d, 2d], reason: "in {window}"}
  site_web: {count: {entity: site, window: 2h, where: web}, reason: r}
  site_count_before: {count: {entity: site, window: 1d, lag: 3h}, reason: r}
  site_sum: {sum: {entity: site, of: amount, window: 1h}, reason: r}
  site_sum_web: {sum: {entity: site, of: degrees, unit: 0.001, window: 1d, where: web}, reason: r}
  site_mean_past: {mean: {entity: site, of: amount, window: 1d, past: true}, reason: r}
  site_mean_before: {mean: {entity: site, of: amount, window: 1d, lag: 3h}, reason: r}
  site_max: {max: {entity: site, of: amount, window: 1h}, reason: r}
  site_max_web: {max: {entity: site, of: degrees, unit: 0.01, window: 1d, where: web}, reason: r}
  site_std: {std: {entity: site, of: degrees, unit: 0.01, window: 1d}, reason: r}
  site_z: {zscore: {entity: site, of: amount, window: 2d}, reason: r}
  site_payers_1h: {distinct: {entity: site, of: payer, window: 1h}, reason: r}
  site_ids_10m: {distinct: {entity: site, of: id, window: 10m}, reason: r}
  site_ids_web: {distinct: {entity: site, of: id, window: 2d, where: web}, reason: r}
  site_last: {since_last: {entity: site}, reason: r}
  site_far: {distance_from_last: {entity: site, at: [lat, lon]}, reason: r}
  site_speed: {speed: {entity: site, at: [lat, lon]}, reason: r}
  "site_frauds_{window}": {frauds: {entity: site}, windows: [1h, 1d], reason: "in {window}"}
  site_rate: {fraud_rate: {entity: site, window: 1d}, reason: r}
  site_rate_before: {fraud_rate: {entity: site, window: 1d, lag: 3h, empty: -1}, reason: r}
  site_since_fraud: {since_fraud: {entity: site}, reason: r}
  site_fraud_run: {since_fraud: {entity: site, which: oldest, window: 1d}, reason: r}
  site_clean: {clean_since_fraud: {entity: site, older_than: 2h}, reason: r}
  median_ratio: {ratio: {of: amount, over: payer_median_past, empty: 1}, reason: r}
"""

_FIELDS = {
    "id": "string", "at": "timestamp", "payer": "string", "shop": "string", "site": "string", "amount": "integer", "degrees": "number",
    "kind": "string", "code": "string", "flag": "boolean", "since": "date", "lat": "number", "lon": "number",
    "home_lat": "number", "home_lon": "number",
}  # fmt: skip
_SCHEMA = {
    "string": pl.String(), "integer": pl.Int64(), "number": pl.Float64(), "boolean": pl.Boolean(),
    "timestamp": pl.Datetime("us", "UTC"), "date": pl.Date(),
}  # fmt: skip
KINDS = ("web", "shop", "phone")
HOUR = 3_600_000
PAUSES_MS = (6 * HOUR, 7 * HOUR, 31 * HOUR, 48 * HOUR, 80 * HOUR)
"""Around the horizons of the declaration, and beyond what its states are kept."""


def contract() -> Any:
    fields = tuple(
        SimpleNamespace(name=name, type=type, enum=KINDS if name == "kind" else (), role=None)
        for name, type in _FIELDS.items()
    )
    return SimpleNamespace(
        name="transactions",
        fields=fields,
        event_id="id",
        event_time="at",
        entities={"payer": "payer", "shop": "shop", "site": "site"},
        amount=None,
        currency=None,
    )


def declare(folder: Path, text: str = DECLARATION) -> FeatureSet:
    path = folder / "features.yaml"
    path.write_text(text)
    return load_features(path, SimpleNamespace(transactions=contract()))


@dataclass(frozen=True)
class World:
    """Events in the order of their arrival, as JSON and as a frame, with labels."""

    events: list[dict[str, Any]]
    frame: pl.DataFrame
    labels: pl.DataFrame


def make_world(
    seed: int, size: int, payers: int = 4, shops: int = 3, span_h: float = 24.0, pauses: bool = True
) -> World:
    """A random history; the seed decides everything."""
    random = np.random.default_rng(seed)
    # in arrival order mostly ascending, with ties, late events and jumps back
    steps = random.choice([0, 0, 1, 30_000, 600_000, 3_600_000], size) * random.random(size)
    times = np.cumsum(steps)
    times = times / max(times[-1], 1) * span_h * 3_600_000
    times = np.where(random.random(size) < 0.2, np.round(times / 600_000) * 600_000, times)
    quiet = np.random.default_rng([seed, 1])  # of its own, so that pauses leave the rest of a world as it is
    if pauses:
        _pause(quiet, times)
    late = random.random(size) < 0.15
    times = np.where(late, times - random.exponential(3_600_000, size), times).astype(np.int64)
    events = [_event(random, i, int(time), payers, shops) for i, time in enumerate(times)]
    _silence(quiet, events)
    frame = frame_of(events)
    rows = []
    for event in events:
        for _ in range(random.choice([0, 0, 1, 2, 3])):
            moment = datetime.fromisoformat(event["at"])
            rows.append(
                {
                    "id": event["id"],
                    "is_fraud": bool(random.random() < 0.7),
                    "known_at": moment + timedelta(seconds=int(random.exponential(4 * 3600))),
                }
            )
    labels = pl.DataFrame(
        rows, schema={"id": pl.String, "is_fraud": pl.Boolean, "known_at": pl.Datetime("us", "UTC")}
    )
    return World(events, frame, labels)


def frame_of(events: list[dict[str, Any]]) -> pl.DataFrame:
    """Events as the lake holds them, in the order of their arrival."""
    return pl.DataFrame(
        [_typed(event) for event in events], schema={name: _SCHEMA[type] for name, type in _FIELDS.items()}
    ).with_columns(
        known_at=pl.col("at").cum_max() + pl.duration(milliseconds=pl.int_range(pl.len())),
        _offset=pl.int_range(pl.len(), dtype=pl.Int64),
    )


def _pause(random: np.random.Generator, times: np.ndarray) -> None:
    """Now and then nothing happens at all; some pauses are a horizon to the millisecond."""
    for place in random.integers(1, max(len(times), 2), random.integers(min(4, len(times)))):
        pause = random.choice(PAUSES_MS) + random.choice([-1, 0, 0, 1, 600_000])
        times[place:] += pause - (times[place] - times[place - 1] if random.random() < 0.7 else 0)


def _silence(random: np.random.Generator, events: list[dict[str, Any]]) -> None:
    """One payer, one shop and one site are not heard of for a while."""
    for entity in ("payer", "shop", "site"):
        quiet = events[random.integers(len(events))][entity]
        start, length = random.integers(len(events)), random.integers(len(events))
        for event in events[start : start + length]:
            if event[entity] == quiet:
                event[entity] = None


def _event(random: np.random.Generator, number: int, time: int, payers: int, shops: int) -> dict[str, Any]:
    def maybe(value: Any, share: float = 0.2) -> Any:
        return None if random.random() < share else value

    micros = int(random.integers(0, 1000)) if random.random() < 0.3 else 0
    moment = START + timedelta(milliseconds=time, microseconds=micros)
    amount = int(random.choice([0, 5, 5, int(random.integers(0, 100_000)), -3, 10**10, 2**45]))
    place = random.choice(3)
    return {
        "id": f"e{number:06d}",
        "at": moment.isoformat().replace("+00:00", "Z"),
        "payer": maybe(f"p{random.integers(payers)}", 0.05),
        "shop": maybe(f"š{random.integers(shops)}{{x}}"),
        "site": maybe(f"s{min(random.integers(1, 7), random.integers(1, 7)) // 3}", 0.05),
        "amount": maybe(amount, 0.1),
        "degrees": maybe(float(random.normal(0, 40)) if random.random() < 0.8 else 2.5e-3),
        "kind": maybe(str(random.choice(KINDS)), 0.1),
        "code": maybe(f"{random.integers(5):04d}", 0.1),
        "flag": maybe(bool(random.random() < 0.5), 0.1),
        "since": maybe(str(date(2025, 1, 1) + timedelta(days=int(random.integers(500))))),
        "lat": maybe(float(place + random.random()), 0.1),
        "lon": maybe(float(random.uniform(-180, 180)), 0.1),
        "home_lat": maybe(float(place), 0.1),
        "home_lon": maybe(10.0, 0.1),
    }


def _typed(event: dict[str, Any]) -> dict[str, Any]:
    since = event["since"]
    return {
        **event,
        "at": datetime.fromisoformat(event["at"]),
        "since": None if since is None else date.fromisoformat(since),
    }

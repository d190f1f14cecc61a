"""Random declarations over the little world, and random histories for any contract: nothing in the engine may know ours."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from fraud_core.features import FeatureSet
from tests.core.features.world import START, World

_WINDOWS = ("30s", "10m", "1h", "3h", "1d")
_ENTITIES = ("payer", "shop", "site")


def random_declaration(seed: int, count: int = 30) -> str:
    """A features.yaml of the little world with entities, layouts, windows and `count` operators drawn at random."""
    random = np.random.default_rng(seed)

    def pick(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    lines = ["version: 1", "entities:"]
    buckets = {}
    for entity in _ENTITIES:
        buckets[entity] = bool(random.random() < 0.5)
        how = f"layout: buckets, resolution: {random.integers(4, 61)}"
        if not buckets[entity]:
            how = f"remember: {pick(1, 2, 3, 7, 30, 300)}"
        lines.append(f"  {entity}: {{history: {pick('2d', '3d', '30d')}, {how}}}")
    lines += ["filters:", "  web: {kind: [web, phone]}", "  flagged: {flag: true}", "features:"]
    for number in range(count):
        entity = pick(*_ENTITIES)
        plain = {"entity": entity, "window": pick(*_WINDOWS)}
        of = pick({"of": "amount"}, {"of": "degrees", "unit": 0.01})
        value = {"of": pick("kind", "code", "id", "payer")}
        where = pick({}, {}, {"where": "web"}, {"where": "flagged"})
        past = pick({}, {"past": "true"})
        lag = pick({}, {"lag": "1h", "window": "1d"})
        operators: list[tuple[str, dict[str, Any]]] = [
            ("count", {**plain, **where, **lag}),
            ("sum", {**plain, **of, **where, **lag}),
            ("mean", {**plain, **of, **pick(where, past, lag)}),
            ("max", {**plain, **of, **where}),
            ("std", {**plain, **of, **pick(where, past)}),
            ("zscore", {**plain, **of}),
            ("distinct", {**plain, **value, **where}),
            ("since_last", {"entity": entity}),
            ("speed", {"entity": entity, "at": "[lat, lon]"}),
            ("distance_from_last", {"entity": entity, "at": "[lat, lon]"}),
            ("frauds", {**plain, **lag}),
            ("fraud_rate", {**plain, **lag}),
            ("since_fraud", pick({"entity": entity}, {**plain, "which": "oldest"})),
            ("clean_since_fraud", {"entity": entity, "older_than": pick(*_WINDOWS)}),
        ]
        if not buckets[entity]:
            operators += [
                ("median", {**plain, **of, **pick(where, past)}),
                ("quantile", {**plain, **of, "at": pick(0, 0.05, 0.333, 0.9, 1), **past}),
                ("first_seen", {"entity": entity, **value}),
                ("since_same", {"entity": entity, **value}),
            ]
        word, arguments = operators[random.integers(len(operators))]
        said = ", ".join(f"{key}: {item}" for key, item in arguments.items())
        lines.append(f"  f{number}: {{{word}: {{{said}}}, reason: r}}")
    return "\n".join(lines) + "\n"


def stranger_world(features: FeatureSet, seed: int, size: int, span_h: float = 200.0) -> World:
    """A random history that fits the contract of `features`: few entities, ties, late events, nulls, labels, corrections."""
    random = np.random.default_rng(seed)
    contract = features.contract
    times = np.sort(random.random(size)) * span_h * 3_600_000
    times = np.where(random.random(size) < 0.2, np.round(times / 600_000) * 600_000, times)
    times = np.where(random.random(size) < 0.1, times - random.exponential(3_600_000, size), times)
    entities = set(contract.entities.values())
    columns: dict[str, list[Any]] = {}
    for field in contract.fields:
        values = [_value(random, field, field.name in entities) for _ in range(size)]
        if field.name != contract.event_time:
            values = [None if random.random() < 0.1 else value for value in values]
        columns[field.name] = values
    columns[contract.event_id] = [f"e{number}" for number in range(size)]
    moments = [START + timedelta(milliseconds=int(time)) for time in times]
    columns[contract.event_time] = moments
    dtypes = {
        "string": pl.String(), "integer": pl.Int64(), "number": pl.Float64(), "boolean": pl.Boolean(),
        "timestamp": pl.Datetime("us", "UTC"), "date": pl.Date(),
    }  # fmt: skip
    frame = pl.DataFrame(columns, schema={field.name: dtypes[field.type] for field in contract.fields})
    frame = frame.with_columns(
        known_at=pl.col(contract.event_time).cum_max() + pl.duration(milliseconds=pl.int_range(pl.len())),
        _offset=pl.int_range(pl.len(), dtype=pl.Int64),
    )
    events = [
        {key: _json(value) for key, value in row.items()}
        for row in frame.drop("known_at", "_offset").iter_rows(named=True)
    ]
    labelled = random.integers(size, size=size // 2)
    labels = pl.DataFrame(
        {
            contract.event_id: [f"e{number}" for number in labelled],
            "is_fraud": random.random(len(labelled)) < 0.7,
            "known_at": [
                moments[number] + timedelta(seconds=int(random.exponential(20 * 3600))) for number in labelled
            ],
        },
        schema={
            contract.event_id: pl.String,
            "is_fraud": pl.Boolean,
            "known_at": pl.Datetime("us", "UTC"),
        },
    )
    return World(events, frame, labels)


def _value(random: np.random.Generator, field: Any, is_entity: bool) -> Any:
    if is_entity:
        return f"{field.name}{random.integers(4)}"
    if field.enum:
        return str(field.enum[random.integers(len(field.enum))])
    match field.type:
        case "string":
            return f"{random.integers(40):04d}"
        case "integer":
            return int(random.integers(-5, 200_000))
        case "number":
            return float(random.uniform(-80, 80))
        case "boolean":
            return bool(random.random() < 0.5)
        case "date":
            return date(2025, 1, 1) + timedelta(days=int(random.integers(400)))
    return START


def _json(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value

"""What the numbers are: windows against a slow, obvious reference, and single features against values worked out by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_core.features import FeatureSet, compute_offline
from fraud_core.features.inputs import time_ms
from fraud_core.features.plan import VALUE_LIMIT
from tests.core.features.world import World, declare, make_world

HOUR = 3_600_000


def slow_windows(
    world: World, entity: str, cap: int, horizon: int, window: int
) -> list[list[dict[str, Any]]]:
    """Per event, the events of its entity in (t - window, t], by the rules as they are written."""
    past: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    found = []
    for event in world.events:
        if event[entity] is None:
            found.append([])
            continue
        mine = past.setdefault(event[entity], [])
        clock = max([time_ms(event["at"])] + [time for time, _ in mine[-1:]])
        mine.append((clock, event))
        remembered = [(time, each) for time, each in mine[-cap:] if time > clock - horizon]
        found.append([each for time, each in remembered if time > clock - window])
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_windows_equal_a_slow_reference(features: FeatureSet, seed: int) -> None:
    world = make_world(seed, 600)
    got = compute_offline(features, world.frame, world.labels)

    def check(name: str, entity: str, window: int, value: Any) -> None:
        rule = features.plans[entity].rule
        windows = slow_windows(world, entity, rule.cap, rule.horizon_ms, window)
        for i, (event, inside) in enumerate(zip(world.events, windows, strict=True)):
            wanted = value(event, inside) if event[entity] is not None else math.nan
            assert got[name][i] == pytest.approx(wanted, rel=1e-5, nan_ok=True), (name, event["id"])

    def amounts(inside: list[dict[str, Any]]) -> list[int]:
        return [
            max(min(each["amount"], VALUE_LIMIT), -VALUE_LIMIT)
            for each in inside
            if each["amount"] is not None
        ]

    def of_amounts(function: Any) -> Any:
        return lambda event, inside: math.nan if event["amount"] is None else function(amounts(inside))

    check("payer_count_1h", "payer", HOUR, lambda event, inside: len(inside))
    check("shop_count_1d", "shop", 24 * HOUR, lambda event, inside: len(inside))
    check(
        "payer_web",
        "payer",
        2 * HOUR,
        lambda event, inside: sum(each["kind"] in ("web", "phone") for each in inside),
    )
    check("payer_sum", "payer", HOUR, of_amounts(sum))
    check("payer_mean", "payer", 6 * HOUR, of_amounts(np.mean))
    check("payer_max", "payer", HOUR, of_amounts(max))
    check("payer_std", "payer", 6 * HOUR, of_amounts(lambda x: np.std(x, ddof=1) if len(x) > 1 else math.nan))
    check(
        "shop_payers",
        "shop",
        24 * HOUR,
        lambda event, inside: (
            math.nan
            if event["payer"] is None
            else len({each["payer"] for each in inside if each["payer"] is not None})
        ),
    )


def history(tmp_path: Path, declared: str, *changes: dict[str, Any]) -> pl.DataFrame:
    """Features of a few events that differ from a plain one in `changes`."""
    text = "version: 1\nentities:\n  payer: {history: 30d}\n  shop: {history: 30d}\nfeatures:\n  " + declared
    plain = {
        "id": "", "at": "2026-03-02T12:00:00Z", "payer": "p", "shop": "s", "amount": 10, "kind": "web",
        "lat": 0.0, "lon": 0.0, "home_lat": 0.0, "home_lon": 1.0, "since": "2026-03-01",
    }  # fmt: skip
    events = [{**plain, "id": str(place), **change} for place, change in enumerate(changes)]
    frame = pl.DataFrame(events).with_columns(
        pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC"), pl.col("since").str.to_date()
    )
    return compute_offline(declare(tmp_path, text), frame, None)


@pytest.mark.parametrize(
    ("declared", "changes", "wanted"),
    [
        ("f: {hour: {}, reason: r}", [{"at": "2026-03-02T23:59:59.999Z"}], [23]),
        ("f: {weekday: {}, reason: r}", [{}, {"at": "2026-03-08T00:00:00Z"}], [0, 6]),
        ("f: {night: {from: 22, to: 6}, reason: r}", [{"at": "2026-03-02T05:59:00Z"}, {}], [1, 0]),
        ("f: {days_since: {date: since}, reason: r}", [{}, {"since": None}], [1, math.nan]),
        ("f: {distance: {from: [home_lat, home_lon], to: [lat, lon]}, reason: r}", [{}], [111195]),
        ("f: {since_last: {entity: payer}, reason: r}", [{}, {"at": "2026-03-02T12:01:30Z"}, {}], [math.nan, 90, 0]),
        (
            "f: {since_last: {entity: payer}, reason: r}",
            [{}, {"at": "2026-04-01T11:59:59.999Z"}, {"at": "2026-05-01T11:59:59.999Z"}],
            [math.nan, 30 * 86400 - 0.001, math.nan],
        ),
        (
            "f: {distance_from_last: {entity: payer, at: [lat, lon]}, reason: r}",
            [{}, {"at": "2026-04-01T11:59:59.999Z"}, {"at": "2026-05-01T11:59:59.999Z"}],
            [math.nan, 0, math.nan],
        ),
        (
            "f: {speed: {entity: payer, at: [lat, lon]}, reason: r}",
            [{}, {"lon": 1.0, "at": "2026-03-02T13:00:00Z"}, {}],
            [math.nan, 111.195, 111195 * 3600 / 1000],
        ),
        ("f: {first_seen: {entity: payer, of: shop}, reason: r}", [{}, {"shop": "z"}, {}, {"shop": None}], [1, 1, 0, math.nan]),
        ("f: {zscore: {entity: payer, of: amount, window: 1d}, reason: r}", [{}, {"amount": 14}, {"amount": 20}], [math.nan, math.nan, 8 / 8**0.5]),
        (
            "f: {median: {entity: payer, of: amount, window: 1d}, reason: r}",
            [{}, {"amount": 20}, {"amount": None}, {"amount": 1}, {"amount": 1}],
            [10, 15, math.nan, 10, 5.5],
        ),
        (
            "f: {median: {entity: payer, of: amount, window: 1d, past: true}, reason: r}",
            [{}, {"amount": 20}, {"amount": 20}, {"amount": 1}],
            [math.nan, 10, 15, 20],
        ),
        (
            "f: {quantile: {entity: payer, of: amount, at: 0.9, window: 1d}, reason: r}",
            [{}, {"amount": 20}, {"amount": 40}],
            [10, 19, 36],
        ),
        (
            "f: {mean: {entity: payer, of: amount, window: 1d, past: true}, reason: r}",
            [{}, {"amount": 20}, {"amount": None}, {"amount": 1}],
            [math.nan, 10, math.nan, 15],
        ),
    ],
)  # fmt: skip
def test_features_have_the_values_worked_out_by_hand(
    tmp_path: Path, declared: str, changes: list[dict[str, Any]], wanted: list[float]
) -> None:
    assert history(tmp_path, declared, *changes)["f"].to_list() == pytest.approx(
        wanted, rel=1e-4, nan_ok=True
    )


def test_equal_amounts_have_no_spread_however_large(tmp_path: Path) -> None:
    declared = "f: {std: {entity: payer, of: amount, window: 1d}, reason: r}"
    assert history(tmp_path, declared, *[{"amount": 9_999_999_999}] * 40)["f"].to_list()[1:] == [0.0] * 39


def test_a_label_takes_effect_at_the_full_hour_after_ten_minutes(tmp_path: Path) -> None:
    features = declare(
        tmp_path,
        "version: 1\nentities:\n  shop: {history: 30d}\nfeatures:\n"
        "  known: {frauds: {entity: shop, window: 30d}, reason: r}\n"
        "  since: {since_fraud: {entity: shop}, reason: r}\n"
        "  rate: {fraud_rate: {entity: shop, window: 30d}, reason: r}\n",
    )
    times = ["10:00:00", "12:59:59", "13:00:00", "14:59:59", "15:00:00"]
    frame = pl.DataFrame({"id": list("abcde"), "at": [f"2026-03-02T{time}Z" for time in times], "shop": "s"})
    frame = frame.with_columns(pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC"))
    labels = pl.DataFrame(
        {
            "id": ["a", "a"],
            "is_fraud": [True, False],
            "known_at": ["2026-03-02T12:50:00Z", "2026-03-02T14:00:00Z"],
        }
    ).with_columns(pl.col("known_at").str.to_datetime(time_unit="us", time_zone="UTC"))
    got = compute_offline(features, frame, labels)
    assert got["known"].to_list() == [0, 0, 1, 1, 0]
    assert got["since"].to_list() == pytest.approx([math.nan, math.nan, 10800, 17999, math.nan], nan_ok=True)
    assert got["rate"].to_list() == pytest.approx([0, 0, 1 / 3, 1 / 4, 0])

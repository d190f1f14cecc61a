"""Windows in buckets: what they hold, against a slow and obvious reference; what they cost; what they refuse."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis

from fraud_core.errors import FeatureError
from fraud_core.features import FeatureSet, OnlineState, compute_offline
from fraud_core.features.inputs import sketch_cell, time_ms
from fraud_core.features.kernel import _estimate, _spread, _wide_spread
from fraud_core.features.plan import (
    LIMB_BITS,
    LIMB_MASK,
    SATURATION,
    SKETCH_CELLS,
    SKETCH_DIGIT,
    SKETCH_DIGITS,
    SKETCH_ERROR,
    SKETCH_PARTS,
    VALUE_LIMIT,
)
from fraud_core.features.rings import rings, state_bytes
from tests.core.features.agreement import assert_same_bits, fresh
from tests.core.features.world import World, declare, make_world

HOUR = 3_600_000


def windows_in_buckets(world: World, width: int, buckets: int) -> list[list[dict[str, Any]]]:
    """Per event, the events of its site whose bucket is one of the last `buckets`, by the rules as they are written."""
    past: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    found = []
    for event in world.events:
        if event["site"] is None:
            found.append([])
            continue
        mine = past.setdefault(event["site"], [])
        clock = max([time_ms(event["at"])] + [time for time, _ in mine[-1:]])
        mine.append((clock, event))
        found.append([each for time, each in mine if time // width > clock // width - buckets])
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_windows_in_buckets_equal_a_slow_reference(features: FeatureSet, seed: int) -> None:
    world = make_world(seed, 500)
    got = compute_offline(features, world.frame, world.labels)

    def check(name: str, window: int, value: Callable[[dict[str, Any], list[dict[str, Any]]], float]) -> None:
        ring = next(ring for ring in rings(features.plans["site"]) if ring.window_ms == window)
        assert ring.window_ms - ring.width_ms * ring.buckets < ring.width_ms
        windows = windows_in_buckets(world, ring.width_ms, ring.buckets)
        for i, (event, inside) in enumerate(zip(world.events, windows, strict=True)):
            wanted = value(event, inside) if event["site"] is not None else math.nan
            assert got[name][i] == pytest.approx(wanted, rel=1e-5, nan_ok=True), (name, event["id"])

    def amounts(inside: list[dict[str, Any]]) -> list[int]:
        return [
            max(min(each["amount"], VALUE_LIMIT), -VALUE_LIMIT)
            for each in inside
            if each["amount"] is not None
        ]

    def of_amounts(function: Callable[[list[int]], float]) -> Callable[..., float]:
        return lambda event, inside: math.nan if event["amount"] is None else function(amounts(inside))

    check("site_count_1h", HOUR, lambda event, inside: len(inside))
    check("site_count_1d", 24 * HOUR, lambda event, inside: len(inside))
    check(
        "site_web", 2 * HOUR, lambda event, inside: sum(each["kind"] in ("web", "phone") for each in inside)
    )
    check("site_sum", HOUR, of_amounts(sum))
    check("site_max", HOUR, of_amounts(max))
    check(
        "site_mean_past",
        24 * HOUR,
        lambda event, inside: (
            math.nan if event["amount"] is None or len(amounts(inside)) < 2 else np.mean(amounts(inside)[:-1])
        ),
    )
    check(
        "site_payers_1h",
        HOUR,
        lambda event, inside: (
            math.nan
            if event["payer"] is None
            else len({each["payer"] for each in inside if each["payer"] is not None})
        ),
    )


def test_a_window_in_buckets_never_reaches_back_further_than_it_says(tmp_path: Path) -> None:
    features = declare(
        tmp_path,
        "version: 1\nentities: {payer: {history: 1d, layout: buckets, resolution: 10}}\nfeatures:\n"
        "  f: {count: {entity: payer, window: 10m}, reason: r}\n",
    )
    times = ["12:00:00", "12:09:59.999", "12:10:00", "12:10:59.999", "12:18:59.999", "12:19:00"]
    frame = pl.DataFrame(
        {"id": list("abcdef"), "at": [f"2026-03-02T{time}Z" for time in times], "payer": "p"}
    )
    frame = frame.with_columns(pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC"))
    assert compute_offline(features, frame, None)["f"].to_list() == [1, 2, 2, 3, 4, 4]


def sketched(count: int, salt: str) -> float:
    met = np.unique([sketch_cell(f"{salt}-{number}") for number in range(count)])
    parts = [0] * SKETCH_PARTS
    for level in met // SKETCH_CELLS:
        parts[level // SKETCH_DIGITS] += SKETCH_DIGIT ** int(level % SKETCH_DIGITS)
    return float(_estimate((parts[0], parts[1], parts[2])))


@pytest.mark.parametrize(("count", "drawn"), [(1, 20), (10, 60), (100, 60), (1000, 60), (20_000, 25)])
def test_a_sketch_errs_no_more_than_it_says(count: int, drawn: int) -> None:
    errors = np.array([sketched(count, f"account_{draw}") / count - 1 for draw in range(drawn)])
    assert np.sqrt((errors**2).mean()) <= SKETCH_ERROR * 1.15  # what is left to the draw
    assert abs(errors.mean()) <= 3 * SKETCH_ERROR / math.sqrt(drawn)


def test_a_hot_key_counts_all_its_events_in_bounded_bytes(client: redis.Redis, tmp_path: Path) -> None:
    """Two days of a site with 15,000 events: far more than any list remembers."""
    features = declare(
        tmp_path,
        "version: 1\nentities: {site: {history: 2d, layout: buckets}}\nfeatures:\n"
        "  n: {count: {entity: site, window: 2d}, reason: r}\n"
        "  ids: {distinct: {entity: site, of: id, window: 2d}, reason: r}\n"
        "  z: {zscore: {entity: site, of: amount, window: 2d}, reason: r}\n",
    )
    world = make_world(7, 15_000, span_h=40.0, pauses=False)
    events = [{**event, "site": "hot"} for event in world.events]
    frame = world.frame.with_columns(site=pl.lit("hot"))
    state: OnlineState = fresh(client, features)
    online = np.stack(
        [
            each.vector
            for start in range(0, len(events), 500)
            for each in state.apply_many([(event, event["id"]) for event in events[start : start + 500]])
        ]
    )
    offline = compute_offline(features, frame, None)
    assert_same_bits(features, [event["id"] for event in events], online, offline)
    assert offline["n"][-1] > 14_000
    assert offline["ids"][-1] == pytest.approx(offline["n"][-1], rel=3 * SKETCH_ERROR)
    assert client.strlen("test:1:{site:hot}") <= state_bytes(features.plans["site"])


def test_totals_beyond_64_bits_spread_exactly() -> None:
    draw = random.Random(1)
    for _ in range(300):
        values = [draw.randrange(-(2**40), 2**40) for _ in range(draw.choice([2, 3, 50]))]
        times = draw.choice([1, 10**3, 10**5])
        count, total, square = len(values) * times, sum(values) * times, sum(x * x for x in values) * times
        exact = count * square - total * total
        if abs(total) >= 2**58 or square >= 2**100:
            continue
        got = _wide_spread(count, total, square >> LIMB_BITS, square & LIMB_MASK)
        assert got == pytest.approx(exact, rel=1e-12)
        if times == 1:
            assert _spread(count, total, square >> LIMB_BITS, square & LIMB_MASK) == pytest.approx(
                exact, rel=1e-9
            )


@pytest.mark.parametrize("count", [1000, 2**22, 10**8])
def test_limbs_that_borrowed_spread_as_those_that_did_not(count: int) -> None:
    """Where an event is left out of its own window, the low limb of its square may be more than the totals have there."""
    total, square = -1_900_000 * count, (1_900_000**2 + 5**2) * count
    high, low = (square >> LIMB_BITS) + 2, (square & LIMB_MASK) - 2 * 2**LIMB_BITS
    assert _spread(count, total, high, low) == pytest.approx(count * square - total * total, rel=1e-9)


def test_a_bucket_that_overflows_saturates(tmp_path: Path) -> None:
    features = declare(
        tmp_path,
        "version: 1\nentities: {payer: {history: 1d, layout: buckets}}\nfeatures:\n"
        "  f: {sum: {entity: payer, of: amount, window: 1d}, reason: r}\n",
    )
    size = SATURATION // VALUE_LIMIT + 10
    frame = pl.DataFrame(
        {"id": [str(i) for i in range(size)], "at": ["2026-03-02T12:00:00Z"] * size, "payer": "p"}
    )
    frame = frame.with_columns(
        pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC"), amount=pl.lit(2**45)
    )
    assert compute_offline(features, frame, None)["f"][-1] == SATURATION


@pytest.mark.parametrize(
    ("entity", "feature", "message"),
    [
        ("layout: bukets", "{hour: {}, reason: r}", "unknown layout 'bukets': did you mean 'buckets'?"),
        ("layout: buckets, remember: 5", "{hour: {}, reason: r}", "`remember` belongs to `layout: list`"),
        ("resolution: 5", "{hour: {}, reason: r}", "`resolution` belongs to `layout: buckets`"),
        ("layout: buckets, resolution: 61", "{hour: {}, reason: r}", "from 4 to 60, found 61"),
        ("layout: buckets, resolutoin: 5", "{hour: {}, reason: r}", "unknown key 'resolutoin': did you mean 'resolution'?"),
        ("layout: buckets", "{median: {entity: payer, of: amount, window: 1h}, reason: r}", "`layout: list`"),
        ("layout: buckets", "{first_seen: {entity: payer, of: shop}, reason: r}", "`layout: list`"),
        ("layout: buckets", "{count: {entity: payer, window: 10s, lag: 23h}, reason: r}", "lost in the buckets"),
        ("remember: 5", "{quantile: {entity: payer, of: amount, at: 95, window: 1h}, reason: r}", "a share from 0 to 1"),
    ],
)  # fmt: skip
def test_what_a_layout_cannot_do_is_refused_with_the_one_that_can(
    tmp_path: Path, entity: str, feature: str, message: str
) -> None:
    text = f"version: 1\nentities:\n  payer: {{history: 1d, {entity}}}\nfeatures:\n  a: {feature}\n"
    with pytest.raises(FeatureError) as caught:
        declare(tmp_path, text)
    assert message in str(caught.value)

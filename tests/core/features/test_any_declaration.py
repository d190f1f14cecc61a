"""What holds for our declaration holds for any: agreement of both executions, and no look into the future."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fraud_core.contracts import load_contracts
from fraud_core.features import FeatureSet, compute_offline, load_features
from fraud_core.features.labels import DELAY_MS
from fraud_core.features.plan import Layout
from tests.core.features.agreement import apply_all, assert_same_bits, fresh
from tests.core.features.strangers import random_declaration, stranger_world
from tests.core.features.world import World, declare, make_world

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ["data_contracts", "examples/handbook", "examples/game"]
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # a seed has no smaller example
seeds = st.integers(0, 2**32 - 1)


MANY = ", ".join(f"{5 * k}m" for k in range(1, 41))
MANY_WINDOWS = f"""
version: 1
answer_ttl: 1m
entities:
  payer: {{history: 6h, remember: 40}}
  site: {{history: 6h, layout: buckets, resolution: 12}}
filters:
  web: {{kind: web}}
features:
  "payer_count_{{window}}": {{count: {{entity: payer}}, windows: [{MANY}], reason: "r {{window}}"}}
  "payer_web_{{window}}": {{count: {{entity: payer, where: web}}, windows: [{MANY}], reason: "r {{window}}"}}
  "payer_max_{{window}}": {{max: {{entity: payer, of: amount}}, windows: [{MANY}], reason: "r {{window}}"}}
  "payer_std_{{window}}": {{std: {{entity: payer, of: amount}}, windows: [{MANY}], reason: "r {{window}}"}}
  "payer_shops_{{window}}": {{distinct: {{entity: payer, of: shop}}, windows: [{MANY}], reason: "r {{window}}"}}
  "payer_median_{{window}}": {{median: {{entity: payer, of: amount}}, windows: [{MANY}], reason: "r {{window}}"}}
  "payer_frauds_{{window}}": {{frauds: {{entity: payer}}, windows: [{MANY}], reason: "r {{window}}"}}
  "site_sum_{{window}}": {{sum: {{entity: site, of: amount}}, windows: [{MANY}], reason: "r {{window}}"}}
  "site_ids_{{window}}": {{distinct: {{entity: site, of: id}}, windows: [{MANY}], reason: "r {{window}}"}}
"""


def drawn(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        phases=PHASES,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def shipped(folder: str) -> FeatureSet:
    contracts = load_contracts(ROOT / folder)
    return load_features(contracts.features_path, contracts)


def compare(client: redis.Redis, features: FeatureSet, world: World) -> int:
    """Values compared."""
    ids = world.frame[features.contract.event_id].to_list()
    state = fresh(client, features)
    online = np.stack([each.vector for each in apply_all(state, world)])
    assert_same_bits(features, ids, online, compute_offline(features, world.frame, world.labels))
    return online.size


def assert_no_look_ahead(features: FeatureSet, world: World, share: float) -> None:
    """Deleting or altering everything after t (events and labels) changes no value at or before t."""
    cut = int(world.frame.height * share)
    event_id = features.contract.event_id
    kept, rest = world.frame[:cut], world.frame[cut:]
    now = kept["known_at"].max()
    known = world.labels.filter(
        (pl.col("known_at") <= now) & pl.col(event_id).is_in(kept[event_id].implode())
    )
    expected = compute_offline(features, world.frame, world.labels)[:cut]
    assert compute_offline(features, kept, known)[:cut].equals(expected, null_equal=True)

    entities = list(set(features.contract.entities.values()))
    strange = rest.with_columns(
        pl.col(features.contract.event_time) + timedelta(hours=5),
        *[pl.col(each).reverse() for each in entities],
    )
    lies = world.frame.select(
        event_id, is_fraud=pl.lit(True), known_at=pl.lit(now) + timedelta(milliseconds=1)
    ).cast(known.schema)
    events, labels = pl.concat([kept, strange]), pl.concat([known, lies])
    assert compute_offline(features, events, labels)[:cut].equals(expected, null_equal=True)


@pytest.mark.valkey
@drawn(12)
@given(seed=seeds, span_h=st.sampled_from([2.0, 30.0, 90.0]))
def test_any_declaration_agrees_offline_and_online(
    client: redis.Redis, tmp_path_factory: pytest.TempPathFactory, seed: int, span_h: float
) -> None:
    features = declare(tmp_path_factory.mktemp("any"), random_declaration(seed))
    compare(client, features, make_world(seed, 300, span_h=span_h))


@drawn(12)
@given(seed=seeds, share=st.floats(0.05, 0.95))
def test_no_declaration_looks_ahead(
    tmp_path_factory: pytest.TempPathFactory, seed: int, share: float
) -> None:
    features = declare(tmp_path_factory.mktemp("any"), random_declaration(seed))
    assert_no_look_ahead(features, make_world(seed, 300), share)


@pytest.mark.valkey
def test_a_declaration_of_hundreds_of_windows_agrees(client: redis.Redis, tmp_path: Path) -> None:
    """More totals, ordered values and answers than a Lua function has room for as variables."""
    features = declare(tmp_path, MANY_WINDOWS)
    assert len(features.names) == 9 * 40
    world = make_world(3, 150)
    assert compare(client, features, world)


@pytest.mark.parametrize("folder", SHIPPED)
def test_shipped_declarations_agree_offline_and_online(client: redis.Redis, folder: str) -> None:
    features = shipped(folder)
    for seed, span_h in ((1, 3.0), (2, 200.0), (3, 3000.0)):
        compare(client, features, stranger_world(features, seed, 500, span_h))


@pytest.mark.parametrize("folder", SHIPPED)
def test_shipped_declarations_do_not_look_ahead(folder: str) -> None:
    features = shipped(folder)
    for seed, share in ((1, 0.3), (2, 0.8)):
        assert_no_look_ahead(features, stranger_world(features, seed, 500), share)


def test_the_look_ahead_test_would_notice_a_leak() -> None:
    features = shipped("data_contracts")
    world = stranger_world(features, 1, 500)
    sooner = world.labels.with_columns(pl.col("known_at") - timedelta(milliseconds=DELAY_MS + 3_600_000))
    assert not compute_offline(features, world.frame, sooner).equals(
        compute_offline(features, world.frame, world.labels), null_equal=True
    )


def test_random_declarations_draw_every_layout_and_every_windowed_operator(tmp_path: Path) -> None:
    met: set[str] = set()
    for seed in range(40):
        features = declare(tmp_path, random_declaration(seed))
        layouts = {name: plan.rule.layout for name, plan in features.plans.items()}
        met |= {f"{each.operator} {layouts[each.entities[0]]}" for each in features.features}
    both = {
        "count", "sum", "mean", "max", "std", "zscore", "distinct", "since_last", "speed", "distance_from_last",
        "frauds", "fraud_rate", "since_fraud", "clean_since_fraud",
    }  # fmt: skip
    lists_only = {"median", "quantile", "first_seen", "since_same"}
    assert met == {f"{each} {layout}" for each in both for layout in Layout} | {
        f"{each} {Layout.LIST}" for each in lists_only
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.valkey
def test_ten_million_values_are_equal_offline_and_online(
    client: redis.Redis, features: FeatureSet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    compared = 0

    @drawn(60)
    @given(seed=seeds, payers=st.integers(1, 8), span_h=st.sampled_from([0.2, 5.0, 30.0, 90.0, 400.0]))
    def ours(seed: int, payers: int, span_h: float) -> None:
        nonlocal compared
        compared += compare(client, features, make_world(seed, 1000, payers=payers, span_h=span_h))

    @drawn(20)
    @given(seed=seeds, span_h=st.sampled_from([2.0, 30.0, 90.0, 400.0]))
    def anybodys(seed: int, span_h: float) -> None:
        nonlocal compared
        declared = declare(tmp_path_factory.mktemp("any"), random_declaration(seed, 160))
        compared += compare(client, declared, make_world(seed, 1500, payers=2, shops=1, span_h=span_h))

    ours()
    anybodys()
    print(f"{compared:,} values compared")
    assert compared >= 10**7

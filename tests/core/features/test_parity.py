"""Offline equals online, on the final float32, to the bit: over random histories of everything that happens to events."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from fraud_core.features import Applied, FeatureSet, compute_offline, label_effects, rebuild
from fraud_core.features.calls import StateCalls
from fraud_core.features.layout import life_ms
from fraud_core.features.plan import EntityPlan
from tests.core.features.agreement import (
    apply_all,
    apply_all_with_expiry,
    assert_same_bits,
    clock_ms,
    fresh,
    settled,
    with_seqs,
)
from tests.core.features.world import World, make_world

pytestmark = pytest.mark.valkey

seeds = st.integers(0, 2**32 - 1)
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # a seed has no smaller example
quick = settings(
    max_examples=10,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def ids_of(world: World) -> list[str]:
    return [event["id"] for event in world.events]


def _met(world: World, most: int) -> Iterator[list[dict[str, Any]]]:
    """The events in groups of at most `most` that were under way together; nobody overtakes across hours."""
    group: list[dict[str, Any]] = []
    before: datetime | None = None
    for event, known in zip(world.events, world.frame["known_at"], strict=True):
        if group and (len(group) == most or known - before > timedelta(hours=1)):
            yield group
            group = []
        group.append(event)
        before = known
    yield group


def test_a_million_values_are_equal_offline_and_online(client: redis.Redis, features: FeatureSet) -> None:
    compared = 0

    @settings(quick, max_examples=20)
    @given(seed=seeds, payers=st.integers(1, 8), span_h=st.sampled_from([0.2, 5.0, 30.0, 90.0]))
    def agree(seed: int, payers: int, span_h: float) -> None:
        nonlocal compared
        world = make_world(seed, 700, payers=payers, span_h=span_h)
        applied = apply_all(fresh(client, features), world)
        online = np.stack([each.vector for each in applied])
        assert_same_bits(
            features, ids_of(world), online, compute_offline(features, world.frame, world.labels)
        )
        compared += online.size

    agree()
    print(f"{compared:,} values compared")
    assert compared >= 10**6


@quick
@given(seed=seeds, payers=st.integers(1, 4), by_seq=st.booleans())
def test_states_that_expired_change_no_value(
    client: redis.Redis, features: FeatureSet, seed: int, payers: int, by_seq: bool
) -> None:
    world = make_world(seed, 110, payers=payers)
    answers = apply_all_with_expiry(client, fresh(client, features), world)
    lake = world.frame
    if by_seq:
        lake = with_seqs(lake, dict(zip(ids_of(world), answers, strict=True)), features.entities)
        lake = lake.sample(fraction=1.0, shuffle=True, seed=seed)
    online = np.stack([each.vector for each in answers])
    assert_same_bits(features, ids_of(world), online, compute_offline(features, lake, world.labels))


@quick
@given(seed=seeds, share=st.floats(0.1, 0.9))
def test_events_older_than_the_horizon_change_no_value(features: FeatureSet, seed: int, share: float) -> None:
    """A build may begin anywhere: what it does not read cannot matter."""
    world = make_world(seed, 400)
    first = world.frame["at"].sort()[int(share * 400)]
    read = world.frame.filter(pl.col("known_at") >= first - features.horizon)
    mine = pl.col("id").is_in(world.frame.filter(pl.col("at") >= first)["id"].implode())
    whole = compute_offline(features, world.frame, world.labels).filter(mine)
    assert compute_offline(features, read, world.labels).filter(mine).equals(whole, null_equal=True)


@quick
@given(seed=seeds)
def test_labels_that_come_just_before_their_hour_take_effect_alike(
    client: redis.Redis, features: FeatureSet, seed: int
) -> None:
    world = make_world(seed, 120)
    applied = apply_all(fresh(client, features), world, labels_first=False)
    online = np.stack([each.vector for each in applied])
    assert_same_bits(features, ids_of(world), online, compute_offline(features, world.frame, world.labels))


@quick
@given(seed=seeds)
def test_repeated_events_get_the_first_answer_and_count_once(
    client: redis.Redis, features: FeatureSet, seed: int
) -> None:
    world = make_world(seed, 150)
    state = fresh(client, features)
    random = np.random.default_rng(seed)
    first: dict[str, Applied] = {}
    for event in world.events:
        first[event["id"]] = state.apply(event, event["id"])
        again = world.events[len(first) - 1 - random.integers(min(len(first), 4))]
        repeated = state.apply(again, again["id"])
        assert repeated.seqs == first[again["id"]].seqs
        assert repeated.vector.tobytes() == first[again["id"]].vector.tobytes()
    online = np.stack([each.vector for each in first.values()])
    assert_same_bits(features, ids_of(world), online, compute_offline(features, world.frame, None))


@quick
@example(seed=66, together=5)  # hours without an event, between two that would have met
@given(seed=seeds, together=st.integers(2, 6))
def test_writers_that_overtake_each_other_are_folded_by_seq(
    client: redis.Redis, features: FeatureSet, seed: int, together: int
) -> None:
    world = make_world(seed, 240, pauses=False)
    state = fresh(client, features)
    calls = StateCalls(features, state.namespace, together=False)  # as for a cluster
    random = np.random.default_rng(seed)
    applied: dict[str, Applied] = {}
    for events in _met(world, together):
        prepared = [calls.prepare(state.epoch(), event, event["id"]) for event in events]
        commands = [command for event in prepared for command in event.commands]
        replies: list[bytes] = [b""] * len(commands)
        for place in random.permutation(len(commands)):  # an entity sees another order than its neighbour
            replies[place] = client.execute_command(*commands[place])
        for event, answer in zip(events, calls.decode(state.epoch(), prepared, replies), strict=True):
            applied[event["id"]] = answer
    lake = with_seqs(world.frame, applied, features.entities).sample(fraction=1.0, shuffle=True, seed=seed)
    online = np.stack([applied[each].vector for each in ids_of(world)])
    assert_same_bits(features, ids_of(world), online, compute_offline(features, lake, None))


@quick
@given(seed=seeds, share=st.floats(0.1, 0.9))
def test_a_rebuild_in_the_middle_changes_no_value(
    client: redis.Redis, features: FeatureSet, seed: int, share: float
) -> None:
    world = make_world(seed, 240)
    cut = int(len(world.events) * share)
    state = fresh(client, features)
    effects = label_effects(features, world.frame, world.labels)
    state.apply_label_effects(effects)
    before = state.apply_many([(event, event["id"]) for event in world.events[:cut]])
    old = _states(features, _dump(client, state.epoch()))
    applied = {event["id"]: answer for event, answer in zip(world.events, before, strict=False)}
    lake = with_seqs(world.frame[:cut], applied, features.entities)

    done = rebuild(state, features, lake.sample(fraction=1.0, shuffle=True, seed=seed), world.labels)

    assert (done.epoch, state.epoch()) == (2, 2)
    rebuilt, alive = _states(features, _dump(client, 2)), _alive(features, old, done.known_ms)
    assert rebuilt.keys() == alive.keys()
    for key, value in rebuilt.items():
        assert value.hex() == alive[key].hex(), key
    state.apply_label_effects(effects)  # the events still to come bring labels of their own
    after = state.apply_many([(event, event["id"]) for event in world.events[cut:]])
    applied.update({event["id"]: answer for event, answer in zip(world.events[cut:], after, strict=True)})
    online = np.stack([applied[each].vector for each in ids_of(world)])
    lake = with_seqs(world.frame, applied, features.entities)
    assert_same_bits(features, ids_of(world), online, compute_offline(features, lake, world.labels))


@quick
@given(seed=seeds, scored=st.floats(0.2, 0.9))
def test_plain_history_between_rebuilds_is_folded_where_the_state_first_saw_it(
    client: redis.Redis, features: FeatureSet, seed: int, scored: float
) -> None:
    """Some events are scored online, others reach only the lake and are seen by the next rebuild."""
    world = make_world(seed, 240)
    state = fresh(client, features)
    random = np.random.default_rng(seed)
    effects = label_effects(features, world.frame, world.labels)
    applied: dict[str, Applied] = {}
    registry: dict[int, int] = {}
    for start in range(0, 240, 60):
        lake = with_seqs(world.frame[:start], applied, features.entities)
        if start:
            done = rebuild(state, features, lake, world.labels, epochs=registry)
            registry[done.epoch] = done.known_ms
        state.apply_label_effects(effects)
        for event in world.events[start : start + 60]:
            if start and random.random() < scored:
                applied[event["id"]] = state.apply(event, event["id"])
    lake = with_seqs(world.frame, applied, features.entities)
    online = np.stack([applied[each].vector for each in applied])
    offline = compute_offline(features, lake, world.labels, registry)
    assert_same_bits(features, list(applied), online, offline)


def test_an_entity_with_more_labels_than_count_agrees(client: redis.Redis, features: FeatureSet) -> None:
    world = make_world(5, 1500, payers=1, shops=1, span_h=40.0)
    labels = world.frame.select(
        "id", is_fraud=pl.lit(True), known_at=pl.col("at") + pl.duration(minutes=pl.int_range(pl.len()) % 90)
    )
    corrections = labels[::3].with_columns(
        is_fraud=pl.lit(False), known_at=pl.col("known_at") + pl.duration(hours=3)
    )
    world = type(world)(world.events, world.frame, pl.concat([labels, corrections]))
    for labels_first in (True, False):
        applied = apply_all(fresh(client, features), world, labels_first)
        online = np.stack([each.vector for each in applied])
        assert_same_bits(
            features, ids_of(world), online, compute_offline(features, world.frame, world.labels)
        )


def _states(features: FeatureSet, dump: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: settled(_plan_of(features, key), value) for key, value in dump.items() if key.endswith(b"}")}


def _plan_of(features: FeatureSet, key: bytes) -> EntityPlan:
    return features.plans[key[1:].split(b":")[0].decode()]


def _alive(features: FeatureSet, states: dict[bytes, bytes], now: int) -> dict[bytes, bytes]:
    """States whose entity was heard of within their life: the others would have expired in their own time."""

    def left_ms(key: bytes, value: bytes) -> int:
        plan = _plan_of(features, key)
        return clock_ms(features, plan.rule.name, value) + life_ms(plan.rule) - now

    return {key: value for key, value in states.items() if left_ms(key, value) >= 1000}


def _dump(client: redis.Redis, epoch: int) -> dict[bytes, bytes]:
    prefix = f"test:{epoch}:".encode()
    keys = list(client.scan_iter(match=prefix + b"*", count=10_000))
    return {key[len(prefix) :]: client.get(key) for key in keys}

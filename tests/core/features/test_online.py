"""The online state: its keys and their lives, what it refuses, and its asyncio face."""

import asyncio
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis
import redis.asyncio

from fraud_core.errors import StateError
from fraud_core.features import (
    AsyncOnlineState,
    FeatureSet,
    OnlineState,
    compute_offline,
    drop_epoch,
    label_effects,
    rebuild,
)
from fraud_core.features.calls import StateCalls
from fraud_core.features.layout import LABEL_BYTES, life_ms
from fraud_core.features.lists import LIST_BYTES, QUIET_EVENTS
from fraud_core.features.rings import state_bytes
from tests.core.features.agreement import apply_all, is_list
from tests.core.features.world import DECLARATION, declare, make_world

pytestmark = pytest.mark.valkey


def test_an_event_without_an_entity_touches_no_state(client: redis.Redis, state: OnlineState) -> None:
    event = {**make_world(1, 1).events[0], "payer": "p", "shop": None, "site": None}
    applied = state.apply(event, "one")
    assert applied.seqs == {"payer": 1}
    assert sorted(client.keys("test:1:*")) == [b"test:1:a:one", b"test:1:{payer:p}"]
    values = dict(zip(state.features.names, applied.vector, strict=True))
    others = [each.name for each in state.features.features if each.entities in (("shop",), ("site",))]
    assert others
    assert all(np.isnan(values[name]) for name in others)


def test_seq_counts_the_events_of_an_entity_without_gaps(state: OnlineState) -> None:
    world = make_world(2, 200)
    seen: dict[tuple[str, str], list[int]] = {}
    for event, applied in zip(world.events, apply_all(state, world), strict=True):
        for entity, seq in applied.seqs.items():
            seen.setdefault((entity, event[entity]), []).append(seq)
    assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in seen.values())


def test_state_is_bounded_and_expires(client: redis.Redis, state: OnlineState) -> None:
    apply_all(state, make_world(3, 500))
    for entity, plan in state.features.plans.items():
        keys = [key for key in client.keys(f"test:1:{{{entity}:*") if key.endswith(b"}")]
        assert keys
        for key in keys:
            labels = client.get(key)[12:16] if is_list(client.get(key)) else bytes(4)
            effects = int.from_bytes(labels, "little") * LABEL_BYTES
            assert LIST_BYTES < client.strlen(key) <= state_bytes(plan) + effects
            assert plan.rule.horizon_ms // 1000 < client.ttl(key) <= life_ms(plan.rule) // 1000
    answers = client.keys("test:1:a:*")
    assert answers
    assert all(0 < client.ttl(key) <= state.features.answer_ttl_s for key in answers)


def test_a_state_lives_on_with_its_entity_also_where_a_clock_ran_ahead(
    client: redis.Redis, state: OnlineState
) -> None:
    """Its life is put off daily, by the events' own times: the entity's clock stands still behind one that was far ahead."""
    model = {**make_world(1, 1).events[0], "payer": None, "shop": None, "site": "s"}
    key, full = "test:1:{site:s}", life_ms(state.features.plans["site"].rule) // 1000
    short = full // 2
    moments = [
        ("2026-03-01T10:00:01Z", full),
        ("2026-03-01T10:40:00Z", short),  # on the same day
        ("2026-03-02T09:00:00Z", full),
        ("2027-03-01T11:00:00Z", full),  # a clock that ran ahead
        ("2026-03-02T11:20:00Z", full),
        ("2026-03-03T11:20:01Z", full),
    ]
    for rings in (False, True):
        client.flushall()
        state.begin()
        if rings:
            crowd = [({**model, "at": "2026-03-01T09:00:00Z"}, f"crowd {k}") for k in range(QUIET_EVENTS + 1)]
            state.apply_many(crowd)
            client.expire(key, short)
        vectors = []
        for number, (at, life) in enumerate(moments):
            vectors.append(state.apply({**model, "at": at}, str(number)).vector)
            if number or not rings:
                assert life - 60 < client.ttl(key) <= life
            assert is_list(client.get(key)) != rings
            client.expire(key, short)
        counts = [vector[state.features.names.index("site_count_1d")] for vector in vectors]
        assert counts == ([34, 35, 3, 1, 2, 3] if rings else [1, 2, 3, 1, 2, 3])


def test_label_effects_are_merged_once_and_late_ones_counted(state: OnlineState) -> None:
    world = make_world(4, 200)
    effects = label_effects(state.features, world.frame, world.labels)
    halves = [effects[: effects.height // 2], effects[effects.height // 4 :]]
    assert sum(state.apply_label_effects(half).added for half in halves) == effects.height
    assert state.apply_label_effects(effects.sample(fraction=1.0, shuffle=True, seed=1)).added == 0

    state.apply({**world.events[0], "at": "2027-01-01T00:00:00Z", "payer": "p", "shop": None}, "later")
    one = pl.DataFrame(
        [{**effects.row(0, named=True), "entity": "payer", "entity_id": "p"}], schema=effects.schema
    )
    assert state.apply_label_effects(one).late == 1


def test_an_id_of_a_megabyte_does_not_reach_the_keys(client: redis.Redis, state: OnlineState) -> None:
    event = {**make_world(5, 1).events[0], "payer": "p" * 2**20}
    assert state.apply(event, "e" * 2**20).seqs["payer"] == 1
    assert state.apply(event, "f").seqs["payer"] == 2
    assert all(len(key) < 300 for key in client.keys("*"))


def test_an_id_that_was_applied_with_other_entities_is_refused(state: OnlineState) -> None:
    event = make_world(5, 1).events[0]
    state.apply({**event, "payer": "p", "shop": None}, "one")
    with pytest.raises(StateError, match="with this id and other entities"):
        state.apply({**event, "payer": "p", "shop": "s"}, "one")


def test_a_cluster_gets_one_call_per_entity_and_the_same_values(
    client: redis.Redis, features: FeatureSet, state: OnlineState
) -> None:
    world = make_world(11, 60)
    apart = StateCalls(features, "apart", together=False)
    together = np.stack([each.vector for each in apply_all(state, world)])
    for entity, id, part in _by_entity(label_effects(features, world.frame, world.labels)):
        for command in apart.label_commands(1, part):
            assert command[3] == f"apart:1:{{{entity}:{id}}}"
            client.execute_command(*command)
    for event, wanted in zip(world.events, together, strict=True):
        prepared = apart.prepare(1, event, event["id"])
        assert len(prepared.commands) == len(prepared.entities)
        for command in prepared.commands:
            tags = {str(key).split("{")[1].split("}")[0] for key in command[3:6]}
            assert len(tags) == 1  # one slot of the cluster
        replies = [client.execute_command(*command) for command in prepared.commands]
        assert apart.decode(1, [prepared], replies)[0].vector.tobytes() == wanted.tobytes()


def _by_entity(effects: pl.DataFrame) -> list[tuple[str, str, pl.DataFrame]]:
    return [
        (str(entity), str(id), part)
        for (entity, id), part in effects.group_by(["entity", "entity_id"], maintain_order=True)
    ]


def test_functions_that_redis_lost_are_loaded_again(client: redis.Redis, state: OnlineState) -> None:
    event = make_world(5, 1).events[0]
    client.function_flush()
    assert state.apply(event, "one").epoch == 1


def test_another_client_follows_a_rebuild(
    client: redis.Redis, features: FeatureSet, state: OnlineState
) -> None:
    world = make_world(6, 60)
    other = OnlineState(client, features, "test")
    other.load()
    apply_all(state, world)
    done = rebuild(state, features, world.frame, world.labels)
    assert done.events == 60
    event = {**world.events[-1], "id": "new"}
    assert other.apply(event, "new").epoch == done.epoch == 2

    assert drop_epoch(state, 1) > 0
    assert not client.keys("test:1:*")
    with pytest.raises(StateError, match="the current one, 2"):
        drop_epoch(state, 2)


def test_a_rebuilt_state_lives_as_long_as_the_one_that_it_stands_for(
    client: redis.Redis, features: FeatureSet, state: OnlineState
) -> None:
    world = make_world(10, 1)
    rules = {entity: plan.rule for entity, plan in features.plans.items()}
    now = world.frame["at"][0] + timedelta(milliseconds=life_ms(rules["payer"]))
    alone = {**world.frame.row(0, named=True), "payer": "old", "shop": "old", "site": None}
    rows = [
        alone | {"id": "first", "known_at": alone["at"], "_offset": 0},
        alone | {"id": "second", "at": now, "known_at": now, "payer": "new", "shop": "new", "_offset": 1},
    ]
    known = pl.DataFrame({"id": ["first"], "is_fraud": [True], "known_at": [alone["at"]]})
    done = rebuild(
        state, features, pl.DataFrame(rows, schema=world.frame.schema), known.cast(world.labels.schema)
    )
    lives = {key: client.ttl(key) for key in client.keys("test:2:*")}
    full = life_ms(rules["shop"]) // 1000
    spent = life_ms(rules["payer"]) // 1000
    assert done.entities == {"payer": 1, "shop": 2, "site": 0}
    assert lives == {
        b"test:2:{payer:new}": pytest.approx(spent, abs=60),
        b"test:2:{shop:new}": pytest.approx(full, abs=60),
        b"test:2:{shop:old}": pytest.approx(full - spent, abs=60),
    }


def test_a_state_of_another_declaration_is_never_mixed(
    client: redis.Redis, state: OnlineState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = declare(tmp_path_factory.mktemp("other"), DECLARATION.replace("history: 6h", "history: 7h"))
    other = OnlineState(client, changed, "test")
    with pytest.raises(StateError, match="declaration changed"):
        other.load()
    world = make_world(7, 50)
    rebuild(other, changed, world.frame, None)
    with pytest.raises(StateError, match="declaration changed"):
        state.apply(world.events[0], "again")


def test_a_lost_state_does_not_pass_for_an_empty_one(
    client: redis.Redis, features: FeatureSet, state: OnlineState
) -> None:
    event = make_world(5, 1).events[0]
    state.apply(event, "before")
    client.flushall()
    client.function_flush()
    with pytest.raises(StateError, match="spearhead state rebuild"):
        state.apply(event, "after")
    with pytest.raises(StateError, match="spearhead state rebuild"):
        OnlineState(client, features, "test").load()


def test_an_older_epoch_is_refused(state: OnlineState, features: FeatureSet) -> None:
    with pytest.raises(StateError, match="an epoch after the current 1"):
        rebuild(state, features, make_world(8, 5).frame, None, epoch=1)


def test_a_redis_that_goes_away_between_a_call_and_the_look_for_its_epoch_is_an_error_with_advice(
    state: OnlineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(key: str) -> bytes:
        raise redis.ConnectionError("the server went away")

    state._epoch = 7
    monkeypatch.setattr(state.client, "get", away)
    with pytest.raises(StateError, match="SPEARHEAD_REDIS_URL"):
        state.apply(make_world(5, 1).events[0], "one")


def test_a_client_that_decodes_is_refused(valkey_url: str, features: FeatureSet) -> None:
    with pytest.raises(StateError, match="without decode_responses"):
        OnlineState(redis.Redis.from_url(valkey_url, decode_responses=True), features, "test")


def test_a_redis_that_is_gone_is_an_error_with_advice(features: FeatureSet) -> None:
    state = OnlineState(redis.Redis(port=1, retry=None), features, "test")
    with pytest.raises(StateError, match="SPEARHEAD_REDIS_URL"):
        state.load()


def test_the_asyncio_face_gives_the_same_answers(valkey_url: str, features: FeatureSet) -> None:
    world = make_world(9, 120)

    async def drive() -> np.ndarray:
        client = redis.asyncio.Redis.from_url(valkey_url)
        OnlineState(redis.Redis.from_url(valkey_url), features, "test").begin()
        state = AsyncOnlineState(client, features, "test")
        await state.load()
        await state.apply_label_effects(label_effects(features, world.frame, world.labels))
        vectors = [(await state.apply(event, event["id"])).vector for event in world.events]
        await client.aclose()
        return np.stack(vectors)

    offline = compute_offline(features, world.frame, world.labels).drop("id").to_numpy()
    assert np.array_equal(asyncio.run(drive()), offline, equal_nan=True)


def test_a_call_that_was_overtaken_by_a_flip_counts_in_the_new_epoch_though_another_call_learned_of_it_first(
    valkey_url: str, client: redis.Redis, state: OnlineState, features: FeatureSet
) -> None:
    world = make_world(10, 1)
    [event] = world.events

    async def drive() -> tuple[dict[str, int], np.ndarray]:
        connection = redis.asyncio.Redis.from_url(valkey_url)
        shared = AsyncOnlineState(connection, features, "test")
        await shared.load()
        send = shared._send

        async def overtaken(commands: Any) -> list[Any]:
            shared._send = send  # type: ignore[method-assign]  # stands in for one failure
            rebuild(state, features, world.frame.clear(), None)
            replies = await send(commands)
            assert (await shared.apply(event, "another")).epoch == 2
            return replies

        shared._send = overtaken  # type: ignore[method-assign]  # stands in for one failure
        applied = await shared.apply(event, "overtaken")
        await connection.aclose()
        assert applied.epoch == 2
        return applied.seqs, applied.vector

    seqs, vector = asyncio.run(drive())
    assert set(seqs.values()) == {2}
    again = state.apply(event, "overtaken")
    assert (again.epoch, again.seqs) == (2, seqs)
    assert np.array_equal(again.vector, vector, equal_nan=True)

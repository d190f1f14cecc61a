"""Lists of events: when they become rings, what they let go of, and what a repeated call finds in them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis
from numba import typeof

from fraud_core.errors import StateError
from fraud_core.features import FeatureSet, OnlineState, compute_offline, label_effects, list_events, rebuild
from fraud_core.features.calls import Applied
from fraud_core.features.labels import EFFECTS_SCHEMA
from fraud_core.features.layout import life_ms
from fraud_core.features.lists import DROP_EVERY, QUIET_EVENTS, SPARE_EVENTS, list_bytes, record_bytes
from tests.core.features.agreement import assert_same_bits, fresh, is_list, settled, with_seqs
from tests.core.features.world import HOUR, declare, frame_of, make_world

pytestmark = pytest.mark.valkey
SITE, PAYER = "test:1:{site:s}", "test:1:{payer:p}"
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def at(**later: float) -> str:
    return (BEGIN + timedelta(**later)).isoformat().replace("+00:00", "Z")


def of_site(number: int, time: str) -> tuple[Mapping[str, Any], str]:
    model = make_world(1, 1).events[0]
    return {**model, "payer": None, "shop": None, "site": "s", "id": f"e{number}", "at": time}, f"e{number}"


def of_payer(number: int, time: str) -> tuple[Mapping[str, Any], str]:
    event, id = of_site(number, time)
    return {**event, "site": None, "payer": "p"}, id


def test_an_entity_in_buckets_is_a_list_while_it_is_quiet(client: redis.Redis, state: OnlineState) -> None:
    """Two days of history: one event every two hours is quiet for ever, one every hour is not."""
    for hours, becomes_rings in ((2, False), (1, True)):
        client.flushall()
        state.begin()
        state.apply_many([of_site(k, at(hours=k * hours)) for k in range(3 * QUIET_EVENTS)])
        assert is_list(client.get(SITE)) != becomes_rings
        if not becomes_rings:
            assert client.strlen(SITE) <= list_bytes(state.features.plans["site"])


def test_a_list_lets_go_of_what_no_event_can_look_at(client: redis.Redis, state: OnlineState) -> None:
    plan = state.features.plans["payer"]
    state.apply_many([of_payer(k, at(hours=k / 6)) for k in range(400)])
    events = client.strlen(PAYER) // record_bytes(plan)
    within = plan.rule.horizon_ms / (3_600_000 / 6)
    assert min(within, plan.rule.cap) <= events <= min(within, plan.rule.cap) + SPARE_EVENTS + DROP_EVERY
    assert client.strlen(PAYER) <= list_bytes(plan)


@pytest.mark.parametrize("later", [0, 1, DROP_EVERY + 1, SPARE_EVENTS - DROP_EVERY])
def test_a_repeated_call_finds_what_the_first_one_found(state: OnlineState, later: int) -> None:
    """Others came in between, and made rings of what was a list."""
    state.apply_many([of_site(k, at(minutes=k)) for k in range(QUIET_EVENTS - 1)])
    event, id = of_site(1000, at(minutes=60))
    event = {**event, "payer": "p"}
    first = state.apply(event, id)
    state.apply_many([of_site(2000 + k, at(minutes=61 + k)) for k in range(later)])
    state.apply_many([of_payer(3000 + k, at(minutes=61 + k)) for k in range(later)])
    again = state.apply(event, id)
    assert again.seqs == first.seqs == {"payer": 1, "site": QUIET_EVENTS}
    assert again.vector.tobytes() == first.vector.tobytes()


def test_a_call_repeated_too_late_is_refused_and_counts_once(client: redis.Redis, state: OnlineState) -> None:
    event, id = of_payer(0, at())
    state.apply(event, id)
    cap = state.features.plans["payer"].rule.cap
    others = [of_payer(1 + k, at(seconds=k)) for k in range(cap + SPARE_EVENTS + 2 * DROP_EVERY)]
    state.apply_many(others)
    length = client.strlen(PAYER)
    with pytest.raises(StateError, match="its payer has let go of some since"):
        state.apply(event, id)
    assert client.strlen(PAYER) == length


@pytest.mark.parametrize("pushed_after", [0, 1])
def test_label_effects_of_rings_that_expired_are_found_by_the_list_after_them(
    client: redis.Redis, state: OnlineState, pushed_after: int
) -> None:
    begin_ms = int(BEGIN.timestamp() * 1000)
    effects = pl.DataFrame(
        [("site", "s", begin_ms + HOUR, begin_ms + k, 1, k, 0) for k in range(3)],
        EFFECTS_SCHEMA,
        orient="row",
    )
    state.apply_many([of_site(k, at(days=-1)) for k in range(QUIET_EVENTS + 1)])
    assert not is_list(client.get(SITE))
    state.apply_label_effects(effects.head(3 - pushed_after))
    client.delete(SITE)  # it expired; its label effects were put off since
    assert state.apply_label_effects(effects.tail(pushed_after)).added == pushed_after
    served = state.apply(*of_site(900, at(hours=2))).vector
    assert is_list(client.get(SITE))
    assert served[state.features.names.index("site_frauds_1d")] == 3
    assert served[state.features.names.index("site_count_1d")] == 1


def assert_agrees(
    client: redis.Redis, features: FeatureSet, events: list[tuple[Mapping[str, Any], str]]
) -> None:
    """Online as offline, the last 30 of them after a rebuild that left the bytes that applying had left."""
    state = fresh(client, features)
    before, after = events[:-30], events[-30:]
    lake = frame_of([dict(event) for event, _ in events])
    applied = {id: each for (_, id), each in zip(before, state.apply_many(before), strict=True)}
    left = {key[len("test:1:") :]: client.get(key) for key in client.keys("test:1:*}")}
    rebuild(state, features, with_seqs(lake[: len(before)], applied, features.entities), None)
    for key in client.keys("test:2:*}"):
        plan = features.plans[key[len("test:2:{") :].split(b":")[0].decode()]
        assert settled(plan, client.get(key)).hex() == settled(plan, left[key[len("test:2:") :]]).hex()
    applied |= {id: each for (_, id), each in zip(after, state.apply_many(after), strict=True)}
    ids = [id for _, id in events]
    offline = compute_offline(features, with_seqs(lake, applied, features.entities), None)
    assert_same_bits(features, ids, np.stack([applied[id].vector for id in ids]), offline)


def test_a_clock_that_ran_ahead_keeps_what_counts_as_of_it(client: redis.Redis, features: FeatureSet) -> None:
    """It is dropped by the cap; those after it count as of its time, however old they are by their own."""
    times = [at(days=365), *[at(seconds=k) for k in range(75)], *[at(hours=8, seconds=k) for k in range(60)]]
    for entity in (of_payer, of_site):
        assert_agrees(client, features, [entity(k, time) for k, time in enumerate(times)])


def test_a_full_list_lets_go_of_all_that_is_too_old_before_it_becomes_rings(
    client: redis.Redis, features: FeatureSet
) -> None:
    times = [at(minutes=k) for k in range(QUIET_EVENTS)] + [at(days=4, minutes=k) for k in range(35)]
    assert_agrees(client, features, [of_site(k, time) for k, time in enumerate(times)])


def test_rings_without_windows_and_labels_go_on(client: redis.Redis, tmp_path: Path) -> None:
    features = declare(tmp_path, _declared("site_last: {since_last: {entity: site}, reason: r}"))
    assert_agrees(client, features, [of_site(k, at(minutes=k)) for k in range(3 * QUIET_EVENTS)])
    assert fresh(client, features).read("site", "s").seq == 0


def test_rebuilt_rings_hold_whole_buckets(client: redis.Redis, tmp_path: Path) -> None:
    """The newest bucket but one is the last of its ring, and its count one byte of five."""
    features = declare(
        tmp_path, _declared("site_count: {count: {entity: site, window: 1d}, reason: r}")
    )  # 12 buckets of two hours
    times = [at(hours=22)] * 40 + [at(hours=27), *[at(hours=46)] * 30]
    assert_agrees(client, features, [of_site(k, time) for k, time in enumerate(times)])


def _declared(feature: str) -> str:
    site = "site: {history: 2d, layout: buckets, resolution: 12}"
    return f"version: 1\nentities:\n  {site}\nfeatures:\n  {feature}\n"


def test_an_id_that_was_applied_with_another_event_is_refused(state: OnlineState) -> None:
    state.apply(*of_payer(0, at()))
    state.apply_many([({**of_payer(k, at())[0], "payer": "q"}, f"q{k}") for k in range(2)])
    _, id = of_payer(0, at())
    for other in (of_site(0, at())[0], {**of_payer(0, at())[0], "payer": "never met"}):
        with pytest.raises(StateError, match="with this id and other entities"):
            state.apply(other, id)
    with pytest.raises(StateError, match="with this id and other entities or values"):
        state.apply({**of_payer(0, at(seconds=1))[0], "payer": "q"}, id)


def test_in_a_batch_only_the_event_that_is_refused_fails(state: OnlineState) -> None:
    state.apply(*of_payer(0, at()))
    other = {**of_payer(0, at())[0], "payer": "never met"}, "e0"
    first, refused, last = state.apply_each([of_payer(1, at(minutes=1)), other, of_payer(2, at(minutes=2))])
    assert isinstance(refused, StateError)
    assert isinstance(first, Applied)
    assert isinstance(last, Applied)
    assert (first.seqs["payer"], last.seqs["payer"]) == (2, 3)
    again = state.apply_many([of_payer(1, at(minutes=1)), of_payer(2, at(minutes=2))])
    assert [each.vector.tobytes() for each in again] == [first.vector.tobytes(), last.vector.tobytes()]


def test_the_life_of_a_list_is_put_off_by_events_of_one_time(client: redis.Redis, state: OnlineState) -> None:
    """They are in the window of the next one for as long as the clock stands still, however much later they come."""
    state.apply(*of_payer(0, at()))
    for number, time in ((1, at()), (2, at(minutes=-1))):
        client.expire(PAYER, 60)
        state.apply(*of_payer(number, time))
        assert client.ttl(PAYER) > 60


def test_a_list_of_label_effects_alone_lives_on_with_its_first_event(
    client: redis.Redis, state: OnlineState
) -> None:
    effect = ("payer", "p", HOUR, 0, 1, 0, 0)
    state.apply_label_effects(pl.DataFrame([effect], EFFECTS_SCHEMA, orient="row"))
    client.expire(PAYER, 60)
    state.apply(*of_payer(0, "1970-01-01T00:00:00Z"))
    assert client.ttl(PAYER) > life_ms(state.features.plans["payer"].rule) // 1000 - 60


def test_the_folds_are_compiled_before_the_first_event(
    client: redis.Redis, features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind of arguments that first comes with an event would be compiled then, for seconds."""
    met: set[Any] = set()

    def noting(name: str) -> Callable[..., Any]:
        compiled = getattr(list_events, name)

        def noted(*arguments: Any) -> Any:
            met.add((name, tuple(typeof(each) for each in arguments)))
            return compiled(*arguments)

        return noted

    for name in ("read_events", "newest_labels", "local_codes", "fold", "fold_rings"):
        monkeypatch.setattr(list_events, name, noting(name))
    state = fresh(client, features)
    compiled = set(met)
    world = make_world(3, 40)
    state.apply_label_effects(label_effects(features, world.frame, world.labels))
    state.apply_many([(event, event["id"]) for event in world.events[:-1]])
    state.apply(world.events[-1], "alone")
    for entity in features.entities:
        state.read(entity, next(event[entity] for event in world.events if event[entity]))
    assert len({name for name, _ in met}) == 5
    assert met == compiled

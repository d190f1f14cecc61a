"""Reading an entity: what its next payment would find, without that payment, and without a trace."""

import math
from typing import Any

import pytest
import redis

from fraud_core.errors import StateError
from fraud_core.features import OnlineState, label_effects
from tests.core.features.world import make_world

pytestmark = pytest.mark.valkey
COUNTED = ("payer_count_10m", "payer_count_1h", "payer_count_6h")


def everything(client: redis.Redis) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.keys("*")}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_read_is_what_the_next_payment_finds_but_for_its_own_count(
    client: redis.Redis, state: OnlineState, seed: int
) -> None:
    world = make_world(seed, 150)
    state.apply_label_effects(label_effects(state.features, world.frame, world.labels))
    names = state.features.names
    for event in world.events:
        payer = event["payer"]
        if payer is not None:
            before = everything(client) if event is world.events[-1] else None
            found = state.read("payer", payer, int(_ms(event)))
            if before is not None:
                assert everything(client) == before
            applied = state.apply({**event, "amount": None, "kind": None}, event["id"])
            served = dict(zip(names, applied.vector.tolist(), strict=True))
            assert found.seq + 1 == applied.seqs["payer"]
            assert found.seen == (found.seq > 0)
            for name in COUNTED:
                assert found.values[name] == served[name] - 1, name
            for name in ("payer_web", "payer_frauds_6h", "payer_since_fraud"):
                assert _same(found.values[name], served[name]), name


def test_as_of_the_clock_is_the_default_and_an_earlier_moment_is_the_clock(state: OnlineState) -> None:
    event = next(event for event in make_world(4, 20).events if event["payer"])
    state.apply(event, "one")
    by_clock = state.read("payer", event["payer"])
    assert by_clock.as_of_ms == by_clock.clock_ms == int(_ms(event))
    assert state.read("payer", event["payer"], 1).as_of_ms == by_clock.clock_ms
    assert by_clock.values["payer_last"] == 0.0
    assert state.read("payer", event["payer"], int(_ms(event)) + 60_000).values["payer_last"] == 60.0


def test_an_unknown_kind_is_refused_with_the_nearest_name(state: OnlineState) -> None:
    with pytest.raises(StateError, match="did you mean 'payer'"):
        state.read("payor", "x")


def _ms(event: dict[str, Any]) -> int:
    from fraud_core.features.inputs import time_ms

    return time_ms(event["at"])


def _same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))

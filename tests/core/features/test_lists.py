"""Lists of events: when they become rings, what they let go of, and what a repeated call finds in them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import redis

from fraud_core.errors import StateError
from fraud_core.features import OnlineState
from fraud_core.features.labels import EFFECTS_SCHEMA
from fraud_core.features.lists import DROP_EVERY, QUIET_EVENTS, SPARE_EVENTS, list_bytes, record_bytes
from tests.core.features.agreement import is_list
from tests.core.features.world import HOUR, make_world

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

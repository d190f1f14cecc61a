"""The online state on a Redis Cluster: an entity's keys share a slot, functions are on every primary."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fraud_core.features import FeatureSet, OnlineState, compute_offline, label_effects, rebuild, sweep_epochs
from fraud_core.features.handover import Handover, lease_key, lost_key
from fraud_core.redis_connection import connect_redis
from tests.core.features.agreement import assert_same_bits
from tests.core.features.world import make_world

pytestmark = pytest.mark.valkey


@pytest.fixture(scope="module")
def cluster(cluster_session: str) -> Iterator[Any]:
    client = connect_redis(cluster_session)
    yield client
    client.close()


def test_apply_labels_read_rebuild_and_sweep_work_on_a_cluster(cluster: Any, features: FeatureSet) -> None:
    world = make_world(11, 150)
    state = OnlineState(cluster, features, "test")
    state.begin()
    state.apply_label_effects(label_effects(features, world.frame, world.labels))
    applied = [state.apply(event, event["id"]) for event in world.events]
    offline = compute_offline(features, world.frame, world.labels)
    ids = [event["id"] for event in world.events]
    assert_same_bits(features, ids, np.stack([each.vector for each in applied]), offline)
    again = state.apply(world.events[-1], world.events[-1]["id"])
    assert again.seqs == applied[-1].seqs
    assert again.vector.tobytes() == applied[-1].vector.tobytes()
    payer = next(event["payer"] for event in world.events if event["payer"])
    live = state.read("payer", payer)
    nodes = {cluster.get_node_from_key(key.decode()).name for key in cluster.scan_iter("test:1:*")}
    assert len(nodes) == 3

    done = rebuild(state, features, world.frame, world.labels)
    assert (done.epoch, state.epoch()) == (2, 2)
    folded = state.read("payer", payer)
    assert (folded.seq, folded.clock_ms) == (live.seq, live.clock_ms)
    assert {name: value for name, value in folded.values.items() if value == value} == {  # noqa: PLR0124
        name: value
        for name, value in live.values.items()
        if value == value  # noqa: PLR0124
    }
    assert sweep_epochs(cluster, "test", keep={2}) > 0
    assert not list(cluster.scan_iter("test:1:*"))


def test_the_keys_of_an_entity_and_of_a_handover_share_their_slots(cluster: Any) -> None:
    entity = "test:1:{payer:p}"
    assert len({cluster.keyslot(key) for key in (entity, f"{entity}:a:x", f"{entity}:l")}) == 1
    epoch = "test:epoch"
    assert len({cluster.keyslot(key) for key in (epoch, lease_key(epoch), lost_key(epoch))}) == 1


def test_a_handover_works_across_the_gates_of_a_cluster(cluster: Any) -> None:
    handover = Handover(cluster, "hand", "hand:epoch", 4, "me")
    handover.acquire(10)
    fence = handover.fence(0, 5000)
    handover.hold()
    assert handover.flip(1, fence)
    assert cluster.get("hand:epoch") == b"1"
    assert cluster.hgetall("hand:log:{decisions.3}:gate") == {b"closed": b"0"} or not cluster.hgetall(
        "hand:log:{decisions.3}:gate"
    )
    handover.release()
    assert cluster.get(lease_key("hand:epoch")) is None

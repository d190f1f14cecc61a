"""Several processes apply events to one online state at once, as workers of the service do."""

import multiprocessing
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import redis

from fraud_core.features import Applied, FeatureSet, OnlineState, compute_offline
from tests.core.features.agreement import assert_same_bits, fresh, with_seqs
from tests.core.features.world import START, declare, make_world

pytestmark = [pytest.mark.valkey, pytest.mark.slow]

SEED, EVENTS, WRITERS, AT_ONCE = 11, 1_200, 3, 5
DEADLINE_S = 240


def write(url: str, folder: Path, writer: int, ready: Barrier, told: "Queue[dict[str, Applied]]") -> None:
    """Every third event of the world, a few in each round trip, and one of each trip sent again."""
    mine = make_world(SEED, EVENTS, pauses=False).events[writer::WRITERS]
    applied: dict[str, Applied] = {}
    with redis.Redis.from_url(url) as client:
        state = OnlineState(client, declare(folder), "test")
        state.load()
        ready.wait(DEADLINE_S)
        for start in range(0, len(mine), AT_ONCE):
            events = [(event, event["id"]) for event in mine[start : start + AT_ONCE]]
            found = state.apply_many([*events, events[0]])
            assert found[-1].seqs == found[0].seqs
            applied |= {id: each for (_, id), each in zip(events, found, strict=False)}
    told.put(applied)


def test_writers_in_several_processes_leave_no_gap_and_no_difference(
    client: redis.Redis, valkey_url: str, features: FeatureSet, tmp_path: Path
) -> None:
    fresh(client, features)
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(WRITERS), context.Queue()
    writers = []
    for number in range(WRITERS):
        folder = tmp_path / str(number)
        folder.mkdir()
        writers.append(context.Process(target=write, args=(valkey_url, folder, number, ready, told)))
        writers[-1].start()
    applied: dict[str, Applied] = {}
    for _ in writers:
        applied |= told.get(timeout=DEADLINE_S)
    for each in writers:
        each.join(DEADLINE_S)
        assert each.exitcode == 0

    world = make_world(SEED, EVENTS, pauses=False)
    at_once = world.frame.with_columns(known_at=pl.lit(START).cast(world.frame.schema["known_at"]))
    lake = with_seqs(at_once, applied, features.entities)
    for entity in features.entities:
        for _, rows in lake.drop_nulls(entity).group_by(entity):
            assert sorted(rows[f"_seq_{entity}"].to_list()) == list(range(1, rows.height + 1))
    ids = [event["id"] for event in world.events]
    online = np.stack([applied[id].vector for id in ids])
    assert_same_bits(features, ids, online, compute_offline(features, lake, None))

"""Snapshots of a lake in an object store: parts are written there and read back from there."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fraud_assets.features.snapshots import SNAPSHOT_PARTS
from fraud_assets.lake import open_lake
from fraud_core.features import FeatureSet
from tests.assets.features.test_snapshots import arrive_on_time, built_alike, midnight, plain_world
from tests.assets.lake.object_store import in_store


@pytest.mark.s3
def test_a_day_built_from_a_snapshot_in_an_object_store_equals_that_from_the_history(
    contracts: Any, few: FeatureSet, folder: Path, object_store: str
) -> None:
    world, room, days = plain_world(folder, few)
    world.lake = open_lake(in_store(object_store, folder))
    world.lake.create("transactions", world.rows.schema, partition_by=["event_date"])
    world.lake.create("labels", world.labels.schema)
    builds = []
    for day in days[1:]:
        arrive_on_time(world, midnight(day) + timedelta(hours=23))
        builds.append(built_alike(world.lake, contracts, few, (day, day), room))
    assert [(built.start, built.refused) for built in builds] == [(None, ""), (builds[0].kept, "")]
    assert builds[0].kept
    assert all(uri.startswith("s3://") for uri in world.lake.table(SNAPSHOT_PARTS).file_uris())

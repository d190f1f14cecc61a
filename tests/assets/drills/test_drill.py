"""The drill itself: a short one on a path, one in an object store, and that it would notice."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from fraud_assets.drills.ingest import RANDOM, drill_ingest, planned_kills
from fraud_assets.drills.producer import Producer
from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.ingestion.failpoint import FAILPOINTS
from fraud_core.cli import app
from fraud_core.contracts import load_contracts
from fraud_core.errors import SettingsError
from fraud_core.log import open_log
from fraud_core.settings import Settings, load_settings
from tests.assets.lake.object_store import in_store

pytestmark = [pytest.mark.valkey, pytest.mark.early]


@pytest.mark.timeout(600)
def test_runs_killed_at_every_step_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEARHEAD_HOME", str(tmp_path))
    kills = len(FAILPOINTS)
    done = CliRunner().invoke(app, ["drill", "ingest", "--kills", str(kills), "--seed", "3", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["kills"], found["lost"], found["duplicated"], found["problems"]) == (kills, 0, 0, [])
    assert set(found["kills_per_point"]) <= {*FAILPOINTS, RANDOM}
    assert sum(found["kills_per_point"].values()) == kills
    assert found["resumed"] > 0
    assert found["events"] == found["valid"] + found["duplicates"] + found["quarantined"] > 0
    assert list((tmp_path / "drills").iterdir()) == []


@pytest.mark.slow
@pytest.mark.longest
@pytest.mark.timeout(1800)
def test_five_deaths_at_every_step_and_as_many_at_random_lose_and_double_nothing(tmp_path: Path) -> None:
    kills = 9 * len(FAILPOINTS)
    found = drill_ingest(load_settings(_env_file=None, home=tmp_path), kills=kills, seed=4)
    assert found.ok, found.problems
    assert found.kills == kills
    assert all(found.kills_per_point[point] >= 5 for point in FAILPOINTS)
    assert found.broker_kills >= 4
    assert found.refused > 0


@pytest.mark.slow
@pytest.mark.longest
@pytest.mark.s3
@pytest.mark.timeout(900)
def test_deaths_in_an_object_store_lose_and_double_nothing(tmp_path: Path, object_store: str) -> None:
    settings = in_store(object_store, tmp_path)
    found = drill_ingest(settings, kills=2 * len(FAILPOINTS), seed=6, lake=settings.lake)
    assert found.ok, found.problems
    assert found.lake.startswith(settings.lake)


def test_every_failpoint_gets_its_share_of_the_kills() -> None:
    for kills in (100, 200, 500):
        counted = Counter(planned_kills(kills, Random(1)))
        assert sum(counted.values()) == kills
        assert min(counted[point] for point in FAILPOINTS) >= 5
        assert counted[RANDOM] >= kills // 4
    assert len(planned_kills(3, Random(1))) == 3
    with pytest.raises(SettingsError, match="at least 1"):
        drill_ingest(load_settings(_env_file=None), kills=0)


def test_what_the_producer_foresees_is_what_becomes_of_its_events(settings: Settings, tmp_path: Path) -> None:
    sharded = settings.changed(shards=2)
    producer = Producer(load_contracts(sharded.contracts), lambda: open_log(sharded), seed=5, most_entries=40)
    producer.start()
    while sum(len(recent) for stream in producer._streams for recent in stream.recent) < 300:
        assert producer.is_alive(), producer.failure
        run_ingest(sharded)
    producer.stop()
    assert producer.failure is None
    run_ingest(sharded)
    producer.manifest.save(tmp_path / "manifest.json")
    proof = verify(sharded, tmp_path / "manifest.json")
    assert proof.ok, proof.problems
    for stream, expected in producer.verdicts.items():
        found = proof.streams[stream]
        assert (found.valid, found.duplicates, found.quarantined) == (
            expected.valid,
            expected.duplicates,
            expected.quarantined,
        )
        assert min(found.valid, found.duplicates, found.quarantined) > 0

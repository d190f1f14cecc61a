"""Bring your own data: a game's rounds go the whole way from a file to scores over HTTP, by a contracts folder alone."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.platform.running import ROOT, RunningPlatform, wait_until

pytestmark = [pytest.mark.platform, pytest.mark.valkey, pytest.mark.slow, pytest.mark.timeout(600)]

GAME = ROOT / "examples" / "game"
DAYS = ("--from", "2026-03-01", "--to", "2026-04-29")


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """The platform under the game's contracts."""
    home = tmp_path_factory.mktemp("game") / "home"
    # Nothing here is about time: on a busy machine the usual budget would send a round down the failure ladder.
    running = RunningPlatform(home, contracts=GAME, first_event_date="2026-03-01", deadline_ms=5000)
    try:
        running.up()
        yield running
    finally:
        running.spearhead("down")


def round_of(number: int, **changed: Any) -> dict[str, Any]:
    """A round just after the file's last day."""
    usual = {
        "round_id": f"r-live-{number:06d}", "ended_at": "2026-04-30T19:05:00Z", "player_id": f"p{number % 40:04d}",
        "machine_id": f"pc-{number % 40:04x}", "squad_id": "s007", "mode": "ranked", "weapon": "rifle", "shots": 180,
        "hits": 50, "head_hits": 8, "reaction_ms": 310.5, "first_played_on": "2025-11-30",
    }  # fmt: skip
    return usual | changed


def test_a_file_of_rounds_is_ingested_and_proved(game: RunningPlatform, tmp_path: Path) -> None:
    file = tmp_path / "rounds.parquet"
    subprocess.run([sys.executable, GAME / "generate.py", file], check=True, capture_output=True)
    game.spearhead("replay", str(file), "--manifest", str(game.home / "replay.json"))
    game.spearhead("ingest")

    def proved() -> bool:
        found = game.json("verify", "--manifest", str(game.home / "replay.json"), codes=(0, 1))
        return bool(found["ok"]) and found["valid"] > 6000 and not found["pending"]

    wait_until("the proof that every round and verdict is ingested", proved, 90)


def test_its_features_train_a_model_that_passes_the_gate(game: RunningPlatform) -> None:
    game.spearhead("materialize", "history_release", *DAYS, timeout_s=400)
    assert game.materialized("features")["dagster/row_count"] == 6000
    [bundle] = game.json("release", "list")["bundles"]
    assert bundle["metrics"]["auc"]["value"] > 0.8
    game.spearhead("release", "bootstrap", bundle["version"], "--approver", "test", "--reason", "first")
    game.spearhead("state", "rebuild")


def test_rounds_are_scored_over_http_and_served_features_equal_the_recomputed(game: RunningPlatform) -> None:
    wait_until("the service to be ready", lambda: game.http("/readyz")[0] == 200, 90)
    sent = [round_of(number) for number in range(40)]  # the clock is coarse: all of them in one minute
    sent += [
        round_of(100 + number, player_id="p0001", reaction_ms=None, machine_id=None) for number in range(10)
    ]
    for each in sent:
        status, answer = game.http("/v1/score", each)
        assert (status, answer["route"], answer["degraded"]) == (200, "champion", False), answer
    status, problem = game.http("/v1/score", round_of(900, hits=181))
    assert status == 422, problem
    assert "hits_are_shots" in str(problem)

    def arrived() -> bool:
        return game.json("verify", codes=(0, 1))["streams"]["decisions"]["valid"] == len(sent)

    wait_until("the decisions in the lake", arrived, 90)
    game.spearhead(
        "materialize", "feature_refresh", "--from", "2026-04-30", "--to", "2026-04-30", timeout_s=300
    )
    parity = game.materialized("feature_parity")
    assert (parity["compared"], parity["mismatches"]) == (len(sent), 0)

"""The ingest run killed with SIGKILL between its commits, and two at once; tests/assets/drills kills it at every step."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fraud_assets.drills.nursery import IngestProcess
from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.ingestion.failpoint import armed
from fraud_core.errors import SettingsError
from fraud_core.log import Log, Manifest, json_entry
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey
ON_EVERY_STORE = True
MakeEvent = Callable[..., bytes]
BETWEEN_COMMITS = (
    "after_quarantine_commit",
    "between_main_commits",
    "after_main_commit",
    "after_ledger_commit",
)


def test_a_run_killed_between_any_two_commits_loses_and_doubles_nothing(
    settings: Settings, log: Log, event: MakeEvent, decision: MakeEvent, tmp_path: Path
) -> None:
    own = settings.changed(plan_max_events=20, compact_every=2)
    manifest, number = Manifest(), 0
    for failpoint in BETWEEN_COMMITS:
        for stream, make in (("transactions", event), ("decisions", decision)):
            payloads = [make(number + step) for step in range(25)]
            payloads += [make(number), make(number + 1, event_ts="2031-01-01T00:00:00.000Z"), b"\xff{"]
            log.append(stream, [json_entry(payload) for payload in payloads])
            manifest.add(
                stream, [json.loads(payload)["transaction_id"] for payload in payloads[:-1]], unreadable=1
            )
        number += 25
        killed = IngestProcess(own, failpoint=f"{failpoint}:2")
        assert killed.wait(120) == -signal.SIGKILL, (failpoint, killed.error)
    run_ingest(own)
    manifest.save(tmp_path / "manifest.json")
    proof = verify(own, tmp_path / "manifest.json")
    assert proof.ok, proof.problems
    assert (proof.lost, proof.duplicated, proof.pending) == (0, 0, 0)
    for stream in ("transactions", "decisions"):
        counts = proof.streams[stream]
        steps = len(BETWEEN_COMMITS)
        assert (counts.valid, counts.duplicates, counts.quarantined) == (25 * steps, steps, 2 * steps)


def test_two_runs_at_once_lose_and_double_nothing(settings: Settings, log: Log, event: MakeEvent) -> None:
    own = settings.changed(plan_max_events=10)
    log.append("transactions", [json_entry(event(number)) for number in range(60)])
    racers = [IngestProcess(own), IngestProcess(own)]
    for racer in racers:
        assert racer.wait(120) == 0, racer.error
    proof = verify(own)
    assert proof.ok, proof.problems
    assert (proof.valid, proof.pending) == (60, 0)


def test_a_misspelt_failpoint_is_refused() -> None:
    with pytest.raises(SettingsError, match="after_quarantine_commit"):
        armed("after_lunch")

"""The ingest run killed with SIGKILL at every step, and reconciled: nothing lost, nothing doubled."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.ingestion.failpoint import FAILPOINTS, armed
from fraud_core.errors import SettingsError
from fraud_core.log import Log, Manifest, json_entry
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey
MakeEvent = Callable[..., bytes]
INGEST = "from fraud_assets.ingestion import run_ingest; from fraud_core.settings import load_settings; run_ingest(load_settings())"


def ingest_process(settings: Settings, failpoint: str = "") -> "subprocess.Popen[bytes]":
    environment = {**os.environ, **settings.environment(), "SPEARHEAD_FAILPOINT": failpoint}
    return subprocess.Popen([sys.executable, "-c", INGEST], env=environment, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    "failpoints",
    [
        ("after_quarantine_commit", "between_main_commits", "after_main_commit", "after_ledger_commit"),
        pytest.param(FAILPOINTS * 5, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
    ids=["between_commits", "every_step"],
)
def test_a_run_killed_at_any_step_loses_and_doubles_nothing(  # noqa: PLR0917
    settings: Settings,
    log: Log,
    event: MakeEvent,
    decision: MakeEvent,
    tmp_path: Path,
    failpoints: tuple[str, ...],
) -> None:
    own = settings.model_copy(update={"plan_max_events": 20, "compact_every": 2})
    own = Settings(**{**own.model_dump(), "_env_file": None})
    manifest, number = Manifest(), 0
    for failpoint in failpoints:
        for stream, make in (("transactions", event), ("decisions", decision)):
            payloads = [make(number + step) for step in range(25)]
            payloads += [make(number), make(number + 1, event_ts="2031-01-01T00:00:00.000Z"), b"\xff{"]
            log.append(stream, [json_entry(payload) for payload in payloads])
            manifest.add(
                stream, [json.loads(payload)["transaction_id"] for payload in payloads[:-1]], unreadable=1
            )
        number += 25
        killed = ingest_process(own, f"{failpoint}:2" if failpoint != "after_compaction" else failpoint)
        _, error = killed.communicate(timeout=120)
        assert killed.returncode == -signal.SIGKILL, (failpoint, error.decode())
    run_ingest(own)
    manifest.save(tmp_path / "manifest.json")
    proof = verify(own, tmp_path / "manifest.json")
    assert proof.ok, proof.problems
    assert (proof.lost, proof.duplicated, proof.pending) == (0, 0, 0)
    for stream in ("transactions", "decisions"):
        counts = proof.streams[stream]
        steps = len(failpoints)
        assert (counts.valid, counts.duplicates, counts.quarantined) == (25 * steps, steps, 2 * steps)


def test_two_runs_at_once_lose_and_double_nothing(settings: Settings, log: Log, event: MakeEvent) -> None:
    own = Settings(**{**settings.model_dump(), "plan_max_events": 10, "_env_file": None})
    log.append("transactions", [json_entry(event(number)) for number in range(60)])
    racers = [ingest_process(own), ingest_process(own)]
    for racer in racers:
        _, error = racer.communicate(timeout=120)
        assert racer.returncode == 0, error.decode()
    proof = verify(own)
    assert proof.ok, proof.problems
    assert (proof.valid, proof.pending) == (60, 0)


def test_a_misspelt_failpoint_is_refused() -> None:
    with pytest.raises(SettingsError, match="after_quarantine_commit"):
        armed("after_lunch")

"""up, status, down and doctor as a person runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fraud_core.platform.checks import Check, run_checks
from fraud_core.platform.own_checks import (
    check_contracts,
    check_lake,
    check_ports,
    check_redis,
    check_settings,
)
from fraud_core.platform.process import marked
from fraud_core.platform.state import read_state
from fraud_core.settings import Settings, load_settings


def environment(home: Path, **variables: str) -> dict[str, str]:
    ports = {f"SPEARHEAD_{name.upper()}": "0" for name in Settings.model_fields if name.endswith("_port")}
    return {**os.environ, **ports, "SPEARHEAD_HOME": str(home), **variables}


def spearhead(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fraud_core.cli", *arguments],
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def only(checks: object, name: str) -> Check:
    return next(check for check in checks if check.name == name)  # type: ignore[attr-defined]


def test_status_and_down_of_nothing_say_so(home: Path) -> None:
    result = spearhead(home, "status", "--json")
    assert (result.returncode, json.loads(result.stdout)["running"]) == (1, False)
    result = spearhead(home, "down")
    assert result.returncode == 0
    assert "Nothing runs" in result.stdout


@pytest.mark.slow
@pytest.mark.platform
def test_up_status_and_down_with_every_real_service(home: Path) -> None:
    try:
        result = spearhead(home, "up", "--detach")
        assert result.returncode == 0, result.stderr
        status = json.loads(spearhead(home, "status", "--json").stdout)
        assert {"valkey", "dagster-code", "dagster-webserver", "dagster-daemon", "reports"} <= {
            each["name"] for each in status["services"] if each["state"] == "ready"
        }
        backlog = spearhead(home, "backlog", "--json")  # finds the Valkey whose port was chosen
        assert backlog.returncode == 0, backlog.stderr
        again = spearhead(home, "up")
        assert again.returncode == 1
        assert "already runs" in again.stderr
    finally:
        state = read_state(home)
        assert spearhead(home, "down").returncode == 0
    assert state is not None
    assert marked(state.token) == []


@pytest.mark.platform
def test_ctrl_c_during_a_detached_start_leaves_nothing_running(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "fraud_core.cli", "up", "--detach"],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        deadline = time.monotonic() + 180
        while (state := read_state(home)) is None or not state.services:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, f"no service was started: {state}"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=180)[0]
    assert process.returncode == 130, said
    assert "nothing is left running" in said
    assert read_state(home) is None
    assert marked(state.token) == []


def test_the_doctor_answers_in_json_and_fails_when_something_required_is_missing(
    home: Path, tmp_path: Path
) -> None:
    result = spearhead(home, "doctor", "--json", SPEARHEAD_CONTRACTS=str(tmp_path / "absent"))
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert not report["ok"]
    broken = {check["name"]: check for check in report["checks"] if not check["ok"] and check["required"]}
    assert "contracts" in broken
    assert broken["contracts"]["advice"]


@pytest.mark.valkey
def test_redis_is_checked_for_what_would_lose_events(settings: Settings) -> None:
    checks = list(check_redis(settings))
    assert [check.name for check in checks] == ["redis", "redis eviction", "redis durability"]
    assert all(check.ok for check in checks)


def test_a_redis_that_was_set_and_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, home=tmp_path, redis_url="redis://:secret@127.0.0.1:1/0")
    check = only(check_redis(settings), "redis")
    assert not check.ok
    assert "secret" not in check.found


def test_an_unmounted_lake_is_a_failure(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, home=tmp_path, lake_marker="MOUNTED")
    assert not only(check_lake(settings), "lake marker").ok
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "MOUNTED").touch()
    assert all(check.ok for check in check_lake(settings))


def test_ports_that_are_left_to_the_start_are_no_failure(tmp_path: Path) -> None:
    ports = {name: 0 for name in Settings.model_fields if name.endswith("_port")}
    assert only(check_ports(load_settings(_env_file=None, home=tmp_path, **ports)), "ports").ok


def test_the_packaged_contracts_are_healthy(tmp_path: Path) -> None:
    assert only(check_contracts(load_settings(_env_file=None, home=tmp_path)), "contracts").ok


def test_a_check_that_fails_itself_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    point = EntryPoint("odd", "fraud_core.there_is_no_such_module:check", "spearhead.checks")
    monkeypatch.setattr("fraud_core.platform.checks.entry_points", lambda group: [point])
    check = only(run_checks(load_settings(_env_file=None, home=tmp_path)), "odd")
    assert not check.ok
    assert "there_is_no_such_module" in check.found


def test_a_misspelt_variable_is_noted_with_the_setting_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SPEARHEAD_")]:
        monkeypatch.delenv(name)
    settings = load_settings(home=tmp_path)
    assert only(check_settings(settings), "settings").ok
    Path(".env").write_text("SPEARHEAD_REDIS_ULR=redis://db\nSPEARHEAD_SEED=3\nOTHER=1\n", encoding="utf-8")
    monkeypatch.setenv("SPEARHEAD_XYZZY", "1")
    monkeypatch.setenv("SPEARHEAD_PLATFORM_TOKEN", "1")
    check = only(check_settings(settings), "settings")
    assert (check.ok, check.required) == (False, False)
    assert "SPEARHEAD_REDIS_ULR (did you mean SPEARHEAD_REDIS_URL?), SPEARHEAD_XYZZY" in check.found
    assert "SEED" not in check.found

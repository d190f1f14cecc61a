"""The frame of the demo: commands run to their end or are ended, failures are told, the summary is complete."""

import io
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from fraud_core.contracts import check_event, load_contracts
from fraud_core.platform.demo.frame import Demo, Phase, PhaseFailed, run_phases
from fraud_core.platform.demo.payments import live_payments
from fraud_core.platform.demo.percentiles import percentile
from fraud_core.platform.demo.run import fresh_home
from fraud_core.platform.demo.summary import curl_command
from fraud_core.platform.ports import choose_free_ports
from fraud_core.platform.process import marked, sweep
from fraud_core.platform.services import local_services, prepare_home
from fraud_core.platform.session import Progress
from fraud_core.settings import PACKAGED_CONTRACTS, load_settings
from fraud_core.simulator import WorldSpec

pytestmark = pytest.mark.platform

CHILD = """
from fraud_core.settings import load_settings
found = load_settings()
print(found.redis_address, found.lake_uri, found.bundles_path, found.triton_address, sep="\\n")
"""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    settings = load_settings(_env_file=None, home=tmp_path / "home", namespace="demo")
    token = tmp_path.name
    yield Demo(settings, token, Progress(Console(file=io.StringIO(), width=200)), time.monotonic())
    sweep(token)


def test_a_command_sees_the_settings_in_force(demo: Demo) -> None:
    shown = json.loads(demo.command("settings", "--json", timeout_s=60))
    assert shown["namespace"] == "demo"
    assert shown["home"] == str(demo.settings.home_path)


def test_a_command_that_fails_ends_the_phase_with_its_own_words(demo: Demo) -> None:
    with pytest.raises(PhaseFailed, match=r"(?s)exit code 1.*no-such-file.*does not exist"):
        demo.command("replay", "no-such-file.csv", timeout_s=60)


def test_what_is_not_json_is_refused(demo: Demo) -> None:
    with pytest.raises(PhaseFailed, match="expected to print a JSON object"):
        demo.json_command("version", timeout_s=60)


def test_a_command_in_the_background_never_outlives_its_block(demo: Demo) -> None:
    with pytest.raises(ZeroDivisionError), demo.background("up"):
        raise ZeroDivisionError
    assert marked(demo.token) == []


def test_a_command_that_takes_too_long_is_ended(demo: Demo) -> None:
    with pytest.raises(PhaseFailed, match="within 0 s"):
        demo.command("version", timeout_s=0.0)
    assert marked(demo.token) == []


def test_phases_stop_at_the_first_that_fails(demo: Demo) -> None:
    ran = []

    def work(_: Demo) -> str:
        ran.append("work")
        return "[3] done"

    def fail(_: Demo) -> str:
        raise PhaseFailed("nothing came")

    with pytest.raises(PhaseFailed, match="nothing came"):
        run_phases(demo, [Phase("Work", work), Phase("Fail", fail), Phase("Never", work)])
    assert ran == ["work"]
    assert "✓ Work: [3] done" in demo.progress.console.file.getvalue()


def test_the_demo_scores_payments_that_keep_the_contract() -> None:
    contract = load_contracts(PACKAGED_CONTRACTS).transactions
    payments = list(live_payments(WorldSpec(accounts=200, merchants=150), 20))
    assert len({payment[contract.event_id] for payment in payments}) == 20
    now_ms = int(time.time() * 1000)
    assert [check_event(contract, payment, now_ms) for payment in payments] == [[]] * 20


def test_the_curl_command_survives_a_shell() -> None:
    event = {"merchant": 'Joe\'s "Diner" $HOME'}
    words = shlex.split(curl_command("http://127.0.0.1:3001", event))
    assert json.loads(words[-1]) == event


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, p) for p in (0, 20, 50, 99, 100)] == [1.0, 1.0, 3.0, 5.0, 5.0]


def test_a_demo_has_a_home_of_its_own_and_empties_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "demo" / "lake").mkdir(parents=True)
    (home / "lake").mkdir()
    settings = load_settings(_env_file=None, home=home, lake=str(tmp_path / "mine"), namespace="kept")
    assert settings.home_path == home  # derived before the demo takes over
    fresh = fresh_home(settings)
    assert fresh.home_path == home / "demo"
    assert fresh.lake_uri == str(home / "demo" / "lake")
    assert fresh.namespace == "kept"
    assert not (home / "demo").exists()
    assert (home / "lake").exists()


def test_the_children_of_a_demo_use_nothing_that_an_env_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {
        "redis_url": "redis://production:6379/0",
        "lake": "s3://production/lake",
        "bundles": "/production/bundles",
        "reports": "/production/reports",
        "triton_url": "production:8001",
        "triton_repository": "/production/models",
    }
    monkeypatch.chdir(tmp_path)
    lines = "\n".join(f"SPEARHEAD_{name.upper()}={value}" for name, value in elsewhere.items())
    Path(".env").write_text(lines, encoding="utf-8")
    settings = load_settings(home=tmp_path / "home")
    assert settings.redis_address == "redis://production:6379/0"
    fresh = choose_free_ports(fresh_home(settings).changed(valkey_port=0))
    children = {service.name: service.environment for service in local_services(fresh, ("serve", "scorer"))}
    assert {"valkey", "serving", "scorer", "dagster-code"} <= set(children)  # a Valkey of its own
    command = fresh.environment()
    for environment in (children["serving"], children["scorer"], children["dagster-code"], command):
        asked = subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "production" not in asked.stdout
        assert asked.stdout.splitlines() == [
            fresh.redis_address,
            fresh.lake_uri,
            str(fresh.bundles_path),
            fresh.triton_address,
        ]


def test_what_dagster_runs_uses_nothing_that_an_env_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its commands, the one that executes runs included, put the .env of their folder over the environment.
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(
        "SPEARHEAD_LAKE=/production/lake\nSPEARHEAD_CONTRACTS=nowhere\n", encoding="utf-8"
    )
    fresh = choose_free_ports(fresh_home(load_settings(_env_file=None, home=Path("home"))))
    prepare_home(fresh)
    services = [service for service in local_services(fresh, ()) if service.name.startswith("dagster")]
    assert len(services) == 3
    program = f"from dagster._cli.utils import get_instance_for_cli\nwith get_instance_for_cli():\n  exec({CHILD!r})"
    for service in services:
        assert service.folder is not None
        assert not (service.folder / ".env").exists()
    asked = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **services[0].environment},
        cwd=services[0].folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.splitlines()[-4:][1] == fresh.lake_uri == str(tmp_path / "home" / "demo" / "lake")

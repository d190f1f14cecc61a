"""The declared services: what is started under which settings, and that real configuration files come out."""

import io
import urllib.request
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from fraud_core.errors import PlatformError
from fraud_core.platform.dagster_home import dagster_home, write_dagster_home
from fraud_core.platform.ports import choose_free_ports
from fraud_core.platform.probe import RedisReady, TcpReady
from fraud_core.platform.service import Service
from fraud_core.platform.services import local_services, prepare_home
from fraud_core.platform.session import Progress, running_platform
from fraud_core.platform.supervisor import Supervisor
from fraud_core.platform.triton import triton_problem
from fraud_core.settings import Settings, load_settings

TIERS = ("serve", "scorer", "triton")


def settings_under(folder: Path, **more: object) -> Settings:
    ports = dict.fromkeys((name for name in Settings.model_fields if name.endswith("_port")), 0)
    return choose_free_ports(load_settings(_env_file=None, **{"home": folder / "home", **ports, **more}))


def named(settings: Settings, commands: tuple[str, ...] = TIERS) -> dict[str, Service]:
    return {service.name: service for service in local_services(settings, commands)}


def test_port_0_becomes_a_free_port_and_no_port_is_chosen_twice(tmp_path: Path) -> None:
    settings = settings_under(tmp_path)
    ports = [getattr(settings, name) for name in Settings.model_fields if name.endswith("_port")]
    assert 0 not in ports
    assert len(set(ports)) == len(ports)
    assert str(settings.valkey_port) in settings.redis_address


def test_services_see_the_settings_in_force(tmp_path: Path) -> None:
    settings = settings_under(tmp_path, namespace="other")
    environment = named(settings)["serving"].environment
    assert environment["SPEARHEAD_NAMESPACE"] == "other"
    assert environment["SPEARHEAD_VALKEY_PORT"] == str(settings.valkey_port)
    assert environment["SPEARHEAD_HOME"] == str(settings.home_path)


def test_an_own_redis_replaces_the_embedded_valkey(tmp_path: Path) -> None:
    services = named(settings_under(tmp_path, redis_url="redis://127.0.0.1:1/0"))
    assert "valkey" not in services
    assert "valkey" not in services["serving"].depends


def test_a_tier_that_is_not_installed_is_left_out(tmp_path: Path) -> None:
    assert not set(named(settings_under(tmp_path), ())) & {"serving", "scorer", "triton"}


INSTALLED = Path(__file__).resolve().parents[3] / ".venv-triton"


@pytest.mark.triton
@pytest.mark.skipif(not INSTALLED.exists(), reason="Triton is not installed")
def test_triton_is_started_where_it_is_installed_and_wanted(tmp_path: Path) -> None:
    assert "triton" in named(settings_under(tmp_path, triton_env=INSTALLED))
    assert "triton" not in named(settings_under(tmp_path, triton_env=INSTALLED, backend="onnxruntime"))
    assert "triton" not in named(settings_under(tmp_path, triton_env=INSTALLED, triton_url="triton:8001"))


def test_a_triton_that_cannot_run_is_left_out_unless_it_is_demanded(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "bin").mkdir(parents=True)
    (broken / "bin" / "python").symlink_to("/bin/true")  # starts, and is no Python
    for environment in (tmp_path / "absent", broken):
        settings = settings_under(tmp_path, triton_env=environment)
        assert triton_problem(settings)
        assert "triton" not in named(settings)
        assert "triton" not in named(settings)["serving"].depends
        with pytest.raises(PlatformError, match="make install"):
            named(settings.changed(backend="triton"))


def test_dagster_accepts_the_generated_instance(tmp_path: Path) -> None:
    from dagster import DagsterInstance
    from dagster._core.run_coordinator import QueuedRunCoordinator

    settings = settings_under(tmp_path)
    write_dagster_home(settings)
    with DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
        assert instance.run_coordinator.dequeue_interval_seconds == 1
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1
        assert not instance.telemetry_enabled
        assert Path(instance.root_directory).is_relative_to(settings.home_path)


def test_the_committed_workspace_and_the_generated_one_name_the_same_location(tmp_path: Path) -> None:
    settings = settings_under(tmp_path)
    write_dagster_home(settings)
    generated = yaml.safe_load((dagster_home(settings) / "workspace.yaml").read_text())["load_from"][0][
        "grpc_server"
    ]
    root = Path(__file__).resolve().parents[3]
    committed = yaml.safe_load((root / "dagster_workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert generated["location_name"] == committed["location_name"]
    assert generated["port"] == settings.dagster_code_port


@pytest.mark.platform
@pytest.mark.valkey
def test_valkey_and_the_reports_really_start(tmp_path: Path) -> None:
    settings = settings_under(tmp_path)
    prepare_home(settings)
    services = [service for name, service in named(settings).items() if name in ("valkey", "reports")]
    with Supervisor(settings.home_path, settings.host, services) as supervisor:
        supervisor.start()
        assert RedisReady(settings.host, settings.valkey_port)()
        with urllib.request.urlopen(settings.reports_url) as answer:
            assert "There is no report yet" in answer.read().decode()
        report = settings.reports_path / "transactions" / "index.html"
        report.parent.mkdir()
        report.write_text("<p>räport")
        with urllib.request.urlopen(f"{settings.reports_url}/transactions/index.html") as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert answer.read().decode() == "<p>räport"
    assert not TcpReady(settings.host, settings.valkey_port)()


def test_a_redis_that_does_not_listen_is_not_ready() -> None:
    assert not RedisReady("127.0.0.1", 1)()


def test_where_triton_is_left_out_the_model_is_meant_to_run_in_process(tmp_path: Path) -> None:
    """An answer then shows no fallback from a server that was never there."""
    settings = settings_under(tmp_path, triton_env=tmp_path / "none", backend="auto")
    said = io.StringIO()
    everything = frozenset(named(settings, (*TIERS, "exporter")))
    with running_platform(settings, Progress(Console(file=said)), everything) as (chosen, _):
        assert chosen.backend == "onnxruntime"
        assert chosen.environment()["SPEARHEAD_BACKEND"] == "onnxruntime"
    assert "Triton is left out" in said.getvalue()

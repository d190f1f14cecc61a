"""The services of the local platform, declared from the settings, in the order in which they may depend on each other."""

import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from fraud_core.log.valkey import valkey_command
from fraud_core.platform.dagster_home import (
    DEFINITIONS_MODULE,
    LOCATION_NAME,
    WORKSPACE_FILE,
    dagster_home,
    write_dagster_home,
)
from fraud_core.platform.ending_runs import EndRuns
from fraud_core.platform.probe import HttpReady, RedisReady, TcpReady
from fraud_core.platform.service import Port, Service
from fraud_core.platform.triton import starts_triton
from fraud_core.settings import Settings

BIN = Path(sys.executable).parent


def local_services(settings: Settings, commands: Collection[str]) -> list[Service]:
    """Everything that this machine can run under these settings; `prepare_home` must have run before they start.

    `commands` are the commands of `spearhead` that are installed: a tier that is not installed is left out.
    """
    services = []
    log: tuple[str, ...] = ()
    if not settings.redis_url:
        services.append(_valkey(settings))
        log = ("valkey",)
    services += _dagster(settings, log)
    services.append(_reports(settings))
    if "exporter" in commands:
        # After the webserver, though it needs nothing: at a start the cores are wanted by those who score.
        after = tuple(service.name for service in services if service.name == "dagster-webserver")
        services.append(_exporter(settings, after))
    serving_after = log
    if "triton" in commands and starts_triton(settings):
        services.append(_triton(settings))
        serving_after = (*log, "triton")
    if "serve" in commands:
        services.append(_serving(settings, serving_after))
    if "scorer" in commands:
        services.append(
            Service("scorer", _spearhead("scorer"), environment=_environment(settings), depends=serving_after)
        )
    return services


def prepare_home(settings: Settings) -> None:
    """Create the folders and write the configuration files that the services expect at their start."""
    valkey_data(settings).mkdir(parents=True, exist_ok=True)
    write_dagster_home(settings)


def valkey_data(settings: Settings) -> Path:
    """Folder of the embedded Valkey's append-only file."""
    return settings.home_path / "valkey"


def _environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        **settings.environment(),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _spearhead(*arguments: str) -> tuple[str, ...]:
    return _python("fraud_core.cli", *arguments)


def _valkey(settings: Settings) -> Service:
    return Service(
        "valkey",
        tuple(valkey_command(valkey_data(settings), settings.valkey_port, host=settings.host)),
        ready=RedisReady(settings.host, settings.valkey_port),
        ports=(Port(settings.valkey_port, "SPEARHEAD_VALKEY_PORT"),),
        stop_timeout_s=30.0,
        address=f"redis://{settings.host}:{settings.valkey_port}/0",
    )


def _dagster(settings: Settings, log: tuple[str, ...]) -> list[Service]:
    """Three processes instead of `dagster dev`: a third less memory, and the code is loaded once.

    They run in Dagster's own folder: its commands put a `.env` of the working folder over the environment they are given.
    """
    if shutil.which("dagster-webserver", path=str(BIN)) is None:
        return []
    home = dagster_home(settings)
    environment = _environment(settings, DAGSTER_HOME=str(home))
    workspace = str(home / WORKSPACE_FILE)
    url = f"http://{settings.host}:{settings.dagster_port}"
    code = Service(
        "dagster-code",
        _python(
            *(
                "dagster",
                "api",
                "grpc",
                "--module-name",
                DEFINITIONS_MODULE,
                "--location-name",
                LOCATION_NAME,
            ),
            *("--host", settings.host, "--port", str(settings.dagster_code_port)),
            "--use-python-environment-entry-point",
        ),
        ready=TcpReady(settings.host, settings.dagster_code_port),
        ports=(Port(settings.dagster_code_port, "SPEARHEAD_DAGSTER_CODE_PORT"),),
        environment=environment,
        folder=home,
        depends=log,
        stop_timeout_s=20.0,
    )
    webserver = Service(
        "dagster-webserver",
        _python("dagster_webserver", "-h", settings.host, "-p", str(settings.dagster_port), "-w", workspace),
        ready=HttpReady(f"{url}/server_info"),
        ports=(Port(settings.dagster_port, "SPEARHEAD_DAGSTER_PORT"),),
        environment=environment,
        folder=home,
        depends=("dagster-code",),
        farewell=EndRuns(url),
        address=url,
    )
    daemon = Service(
        "dagster-daemon",
        _python("dagster._daemon", "run", "-w", workspace),
        environment=environment,
        folder=home,
        depends=("dagster-webserver",),  # which creates the storage: both at once would race
    )
    return [code, webserver, daemon]


def _reports(settings: Settings) -> Service:
    return Service(
        "reports",
        _python(
            "fraud_core.platform.reports",
            str(settings.reports_path),
            settings.host,
            str(settings.reports_port),
        ),
        ready=TcpReady(settings.host, settings.reports_port),
        ports=(Port(settings.reports_port, "SPEARHEAD_REPORTS_PORT"),),
        environment=_environment(settings),
        address=settings.reports_url,
    )


def _exporter(settings: Settings, depends: tuple[str, ...]) -> Service:
    url = f"http://{settings.host}:{settings.exporter_port}"
    return Service(
        "exporter",
        _spearhead("exporter"),
        ready=HttpReady(f"{url}/livez"),  # it says itself what is not there, so it waits for nothing
        ports=(Port(settings.exporter_port, "SPEARHEAD_EXPORTER_PORT"),),
        environment=_environment(settings),
        depends=depends,
        address=f"{url}/metrics",
    )


def _triton(settings: Settings) -> Service:
    ports = ("triton_http_port", "triton_grpc_port", "triton_metrics_port")
    return Service(
        "triton",
        _spearhead("triton", "run"),
        # Live, not ready: readiness speaks of models, and before the first release there is none.
        ready=HttpReady(f"http://{settings.host}:{settings.triton_http_port}/v2/health/live"),
        ports=tuple(Port(getattr(settings, name), f"SPEARHEAD_{name.upper()}") for name in ports),
        environment=_environment(settings),
        address=f"grpc://{settings.triton_address}",
    )


def _serving(settings: Settings, depends: tuple[str, ...]) -> Service:
    url = f"http://{settings.host}:{settings.serving_port}"
    return Service(
        "serving",
        _spearhead("serve"),
        ready=HttpReady(f"{url}/livez"),  # likewise: /readyz waits for the first release
        ports=(Port(settings.serving_port, "SPEARHEAD_SERVING_PORT"),),
        environment=_environment(settings),
        depends=depends,
        stop_timeout_s=20.0,
        address=url,
    )

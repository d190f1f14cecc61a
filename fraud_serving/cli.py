"""`spearhead serve`, `spearhead scorer`, `spearhead triton`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fraud_core.errors import ServingError
from fraud_core.settings import Settings, load_settings

SERVICE = "fraud_serving.service:service"
ROOT = Path(__file__).resolve().parent.parent

triton = typer.Typer(
    no_args_is_help=True,
    help="The Triton server of the local platform, from wheels (Linux x86-64, Python 3.11).",
)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on. Default: SPEARHEAD_HOST.")] = "",
    port: Annotated[int, typer.Option(help="Port to listen on. Default: SPEARHEAD_SERVING_PORT.")] = 0,
    workers: Annotated[int, typer.Option(help="Worker processes. Default: SPEARHEAD_SERVING_WORKERS.")] = 0,
) -> None:
    """Serve the scoring API with BentoML until it is stopped."""
    settings = _settings(workers)
    _refuse_broken_declarations(settings)
    home = settings.home_path / "bentoml"
    home.mkdir(parents=True, exist_ok=True)
    # This process becomes the server, so that whoever watches it watches the real thing.
    _become(
        [
            sys.executable, "-m", "bentoml", "serve", SERVICE, "--host",
            host or settings.host, "--port", str(port or settings.serving_port), "--timeout-graceful-shutdown", "10",
        ],
        settings.environment() | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def scorer() -> None:
    """Score what producers put on the transactions stream, until it is stopped."""
    from fraud_serving.stream import run

    settings = load_settings()
    _refuse_broken_declarations(settings)
    asyncio.run(run(settings))


@triton.command("run")
def triton_run() -> None:
    """Run the Triton server on the ports of the settings until it is stopped."""
    from fraud_serving.triton_server import find_environment, server_command

    settings = load_settings()
    command, extra = server_command(find_environment(settings), settings)
    _become(command, extra)


@triton.command("check")
def triton_check() -> None:
    """Say whether Triton can run here, and whether one answers."""
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    from fraud_serving.triton_server import find_environment

    settings, console = load_settings(), Console(highlight=False)
    environment = find_environment(settings)
    console.print(f"installed: {environment.server} (Python {environment.python_version})", soft_wrap=True)
    with InferenceServerClient(settings.triton_address) as client:
        try:
            index = client.get_model_repository_index(as_json=True, client_timeout=2.0)
        except InferenceServerException as error:
            raise ServingError(
                f"No Triton answers at {settings.triton_address}: {error.message()}. "
                "Start it with `spearhead triton run`."
            ) from None
    console.print(f"answers at {settings.triton_address}")
    for model in index.get("models", []):
        console.print(f"  {model['name']}: {model.get('state', 'not loaded')}")


@triton.command("install")
def triton_install() -> None:
    """Install Triton's wheel, pinned by hash, into an environment of its own."""
    import subprocess

    settings, console = load_settings(), Console(highlight=False)
    requirements = ROOT / "requirements" / "triton.txt"
    if not requirements.is_file():
        raise ServingError(f"{requirements} is not there: run this in a checkout of the project.")
    path = settings.triton_env.expanduser().absolute()
    if not (path / "bin" / "python").exists():
        console.print(f"Creating {path}", soft_wrap=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    command = [
        sys.executable, "-m", "pip", "--python", str(path / "bin" / "python"), "install", "--quiet", "--no-deps",
        "--disable-pip-version-check", "--require-hashes", "-r", str(requirements),
    ]  # fmt: skip
    console.print("Installing Triton (about 270 MB on disk)")
    if subprocess.run(command, check=False).returncode:
        raise ServingError("pip could not install Triton; its messages are above.")
    from fraud_serving.triton_server import find_environment

    find_environment(settings)
    console.print(f"Triton is installed in {path}", soft_wrap=True)


def _settings(workers: int) -> Settings:
    return load_settings(serving_workers=workers) if workers else load_settings()


def _refuse_broken_declarations(settings: Settings) -> None:
    """Fail here, with a message, rather than in a worker that is started again and again."""
    from fraud_core.contracts import load_contracts
    from fraud_core.features import load_features
    from fraud_serving.scoring.fallback import load_fallback

    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    load_fallback(contracts.folder, contracts.transactions, features.names, settings.default_decision)


def _become(command: list[str], extra: dict[str, str]) -> None:
    """Replace this process by a command; it inherits the environment, plus `extra`."""
    os.environ.update(extra)
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - an argv list of our own, no shell

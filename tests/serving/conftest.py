"""A runtime with a real model, a real Valkey, and servers where a test asks for them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fraud_core.errors import ServingError
from fraud_core.free_ports import free_ports
from fraud_core.release import PathAliasStore, bootstrap
from fraud_core.settings import Settings, load_settings
from fraud_serving.runtime import Runtime
from fraud_serving.triton_server import TritonServer, find_environment, start_triton
from tests.serving.samples import begin_state, make_bundle


@pytest.fixture
def serving(tmp_path: Path, valkey_url: str) -> Settings:
    """Settings with a champion, scoring in process, with more patience than a busy test machine needs."""
    made = load_settings(
        _env_file=None,
        home=tmp_path / "home",
        redis_url=valkey_url,
        backend="onnxruntime",
        deadline_ms=20_000,
    )
    bundle = make_bundle(made.bundles_path)
    store = PathAliasStore(made.bundles_path)
    bootstrap(store, made.bundles_path, bundle.version, actor="test", reason="first")
    begin_state(made)
    return made


@pytest.fixture
def with_runtime() -> Callable[[Settings, Callable[[Runtime], Awaitable[None]]], None]:
    """Run an async test body against a started runtime."""

    def run(settings: Settings, body: Callable[[Runtime], Awaitable[None]]) -> None:
        async def whole() -> None:
            runtime = Runtime(settings, source="test")
            await runtime.start()
            try:
                await body(runtime)
            finally:
                await runtime.stop()

        asyncio.run(whole())

    return run


@pytest.fixture
def triton_settings(serving: Settings) -> Settings:
    """The same settings with a Triton of their own (not started); skips where Triton cannot run."""
    http, grpc, metrics = free_ports(3)
    made = serving.model_copy(
        update={
            "backend": "auto",
            "triton_http_port": http,
            "triton_grpc_port": grpc,
            "triton_metrics_port": metrics,
            "triton_env": Path(__file__).parents[2] / ".venv-triton",
        }
    )
    made = load_settings(_env_file=None, **{name: getattr(made, name) for name in made.model_fields_set | {
        "backend", "triton_http_port", "triton_grpc_port", "triton_metrics_port", "triton_env"}})  # fmt: skip
    try:
        find_environment(made)
    except ServingError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture
def triton(triton_settings: Settings) -> Iterator[TritonServer]:
    """A running Triton."""
    server = start_triton(find_environment(triton_settings), triton_settings)
    yield server
    server.stop()

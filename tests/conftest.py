"""Fixtures that every room's tests share: a real embedded Valkey, and settings under a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from fraud_core.log.valkey import start_valkey
from fraud_core.settings import Settings, load_settings


@pytest.fixture(scope="session")
def valkey_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of one embedded Valkey for the whole session; tests take `valkey_url`, which is empty for each."""
    server = start_valkey(tmp_path_factory.mktemp("valkey"), 0, appendfsync="no")
    yield server.url
    server.stop()


@pytest.fixture
def valkey_url(valkey_session: str) -> Iterator[str]:
    """Address of a real Valkey that holds nothing."""
    client = redis.Redis.from_url(valkey_session)
    client.flushall()
    client.function_flush()
    yield valkey_session
    client.close()


@pytest.fixture
def settings(tmp_path: Path, valkey_url: str) -> Settings:
    """Settings with everything under `tmp_path` and the log in a real, empty Valkey."""
    return load_settings(_env_file=None, home=tmp_path / "home", redis_url=valkey_url)

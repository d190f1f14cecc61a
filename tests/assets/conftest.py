"""One small history in a lake, made once; tests that change it take a copy."""

from collections.abc import Iterator

import pytest

from fraud_core.settings import Settings
from tests.assets.history import ingested_past, own_settings, with_lake_of
from tests.assets.lake.object_store import object_server

HISTORY_DAYS = 45


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory, valkey_session: str) -> Settings:
    """Settings of a lake that holds a history; not to be written to."""
    home = tmp_path_factory.mktemp("past")
    return ingested_past(own_settings(home, valkey_session, namespace="past"), HISTORY_DAYS)


@pytest.fixture
def past_settings(settings: Settings, past: Settings) -> Settings:
    """Settings of a lake of the test's own that holds the history."""
    return with_lake_of(settings, past)


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Address of a real S3 server with a bucket `lake`."""
    with object_server() as endpoint:
        yield endpoint

"""A lake that holds two days of the past, and the log that they came by."""

from collections.abc import Iterator

import pytest

from fraud_assets.lake import Lake, open_lake
from fraud_core.log import Log, open_log
from fraud_core.settings import Settings
from tests.assets.history import ingested_past


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(ingested_past(settings, days=2))


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    opened = open_log(settings)
    yield opened
    opened.close()

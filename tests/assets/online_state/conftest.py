"""A lake that holds two days of the past, and the log that they came by."""

import pytest

from fraud_assets.lake import Lake, open_lake
from fraud_core.settings import Settings
from tests.assets.history import ingested_past


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(ingested_past(settings, days=2))

"""The little world's feature set, and an online state of it in a real Valkey."""

from collections.abc import Iterator

import pytest
import redis
from hypothesis.vendor.pretty import for_type_by_name

from fraud_core.features import FeatureSet, OnlineState
from tests.core.features.world import declare

for_type_by_name(FeatureSet.__module__, "FeatureSet", lambda found, printer, cycle: printer.text(repr(found)))


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return declare(tmp_path_factory.mktemp("declaration"))


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    found = redis.Redis.from_url(valkey_url)
    yield found
    found.close()


@pytest.fixture
def state(client: redis.Redis, features: FeatureSet) -> OnlineState:
    made = OnlineState(client, features, "test")
    made.begin()
    return made

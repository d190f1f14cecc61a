"""What tests of feature builds share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fraud_core.features import FeatureSet, load_features
from tests.core.features.world import DECLARATION, contract, make_world

JOINT = "  joint: {ratio: {of: site_count_before, over: payer_frauds_6h, empty: 2}, reason: r}\n"
FEW = """
version: 1
answer_ttl: 10m
entities:
  payer: {history: 6h, remember: 6}
  site: {history: 2d, layout: buckets, resolution: 12}
features:
  payer_sum: {sum: {entity: payer, of: amount, window: 6h}, reason: r}
  payer_last: {since_last: {entity: payer}, reason: r}
  site_count: {count: {entity: site, window: 2d}, reason: r}
  site_rate: {fraud_rate: {entity: site, window: 1d}, reason: r}
"""
"""Features of a list and of rings: enough where the question is whether a snapshot is gone on from."""


@pytest.fixture(scope="module")
def contracts() -> Any:
    payments = contract()
    columns = make_world(1, 2).frame.drop("known_at", "_offset").schema
    payments.future_tolerance_ms, payments.path = 60_000, "transactions"
    payments.polars_schema = lambda: columns
    labels = SimpleNamespace(event_id="id", label="is_fraud", reported_at=None)
    return SimpleNamespace(transactions=payments, labels=labels)


@pytest.fixture(scope="module")
def features(contracts: Any, tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    path = tmp_path_factory.mktemp("declaration") / "features.yaml"
    path.write_text(DECLARATION + JOINT)
    return load_features(path, contracts)


@pytest.fixture(scope="module")
def few(contracts: Any, tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    path = tmp_path_factory.mktemp("few") / "features.yaml"
    path.write_text(FEW)
    return load_features(path, contracts)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)

"""A small real model over the default features, events that keep the default contract, and servers as processes."""

import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import redis

from fraud_core.contracts import load_contracts
from fraud_core.features import FeatureSet, OnlineState, load_features
from fraud_core.release import Bundle, Golden, Manifest, Thresholds, TrainingRecord, write_bundle
from fraud_core.settings import PACKAGED_CONTRACTS, Settings

CREATED = datetime(2026, 9, 1, 12, tzinfo=UTC)
_numbers = itertools.count(1)


@cache
def default_features() -> FeatureSet:
    contracts = load_contracts(PACKAGED_CONTRACTS)
    return load_features(contracts.features_path, contracts)


@cache
def model_files(seed: int, trees: int = 60) -> dict[str, bytes]:
    """The files of a bundle whose model was trained on random vectors; fraud follows the amount."""
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    from fraud_assets.modelling.trees import to_trees

    names = default_features().names
    random = np.random.default_rng(seed)
    matrix = random.lognormal(2, 2, (3000, len(names))).astype(np.float32)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    amount = random.uniform(0, 200_000, len(matrix))
    matrix[:, names.index("amount")] = amount
    fraud = (amount > 100_000) ^ (random.random(len(matrix)) < 0.02)
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "seed": seed},
        xgboost.DMatrix(matrix, label=fraud),
        trees,
    )
    booster.feature_names = None
    onnx = onnxmltools.convert_xgboost(
        booster, initial_types=[("features", FloatTensorType([None, len(names)]))]
    )
    golden = Golden(matrix[:8], np.asarray(booster.inplace_predict(matrix[:8]), dtype=np.float32))
    return {
        "model.ubj": bytes(booster.save_raw("ubj")),
        "model.onnx": onnx.SerializeToString(),
        "golden.json": golden.to_json(),
        "trees.npz": to_trees(cast(Any, SimpleNamespace(booster=booster, feature_names=names))).to_npz(),
    }


def make_bundle(
    bundles: Path, seed: int = 1, files: dict[str, bytes] | None = None, **changes: Any
) -> Bundle:
    """A bundle over the default features, written under `bundles`."""
    features = default_features()
    record = {
        "snapshot": "none",
        "trained_at": CREATED,
        "from": CREATED,
        "to": CREATED,
        "rows": 3000,
        "frauds": 100,
    }
    manifest = Manifest(
        created_at=CREATED,
        features=features.names,
        feature_hashes=features.hashes,
        feature_set_hash=features.hash,
        contract_versions={"transactions": "1.0.0"},
        thresholds=Thresholds(review=0.3, decline=0.8),
        metrics={},
        training=TrainingRecord.model_validate(record),
    )
    return write_bundle(bundles, manifest.model_copy(update=changes), model_files(seed) | (files or {}))


def event(**changes: Any) -> dict[str, Any]:
    """A payment of this moment with an id of its own."""
    number = next(_numbers)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    example = default_features().contract.example()
    return example | {"transaction_id": f"txn_test_{number:06d}", "event_ts": now} | changes


def payload(item: dict[str, Any]) -> bytes:
    return json.dumps(item).encode()


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """What `condition` returns once it is true; exceptions of connections count as not yet."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"Not within {timeout_s:g} s: {what}")


def begin_state(settings: Settings) -> None:
    """An empty online state, as `spearhead state rebuild` makes it from an empty lake."""
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    with redis.Redis.from_url(settings.redis_address) as client:
        OnlineState(client, features, settings.namespace).begin()

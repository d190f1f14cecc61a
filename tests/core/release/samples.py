"""Small sound manifests and golden rows, made without any model library."""

from datetime import UTC, datetime

import numpy as np

from fraud_core.release import Golden, Manifest, Measure, Thresholds, TrainingRecord

CREATED = datetime(2026, 9, 1, 12, 0, 0, tzinfo=UTC)


def manifest_of(*features: str, created_at: datetime = CREATED) -> Manifest:
    return Manifest(
        created_at=created_at,
        features=features,
        feature_hashes={name: f"hash of {name}" for name in features},
        feature_set_hash="set",
        contract_versions={"transactions": "1.0.0"},
        thresholds=Thresholds(review=0.25, decline=0.75),
        metrics={"auc": Measure(value=0.9, low=0.88, high=0.92), "test_frauds": Measure(value=40)},
        training=TrainingRecord.model_validate(
            {
                "snapshot": "ts-1",
                "trained_at": CREATED,
                "from": CREATED,
                "to": CREATED,
                "rows": 1000,
                "frauds": 10,
            }
        ),
        git_commit="0123abc",
    )


def golden_of(width: int) -> Golden:
    vectors = np.zeros((3, width), dtype=np.float32)
    vectors[0, 0], vectors[1, 0], vectors[2, 0] = np.nan, np.inf, 0.1
    return Golden(vectors, np.array([0.1, 0.25, 0.5], dtype=np.float32))

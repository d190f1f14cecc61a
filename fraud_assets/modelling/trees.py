"""A booster's trees as plain arrays, from which serving explains its scores without XGBoost."""

import json
import math
from typing import Any

import numpy as np

from fraud_assets.modelling.training import TrainedModel
from fraud_core.errors import BundleError
from fraud_core.release.contributions import Trees

TOLERANCE = 1e-3  # log odds: XGBoost sums in float32, we in float64


def to_trees(model: TrainedModel) -> Trees:
    """Flatten a model's trees; the expected value of a node is the mean of its leaves, weighted by their hessians."""
    learner = json.loads(bytes(model.booster.save_raw("json")))["learner"]
    roots, offset = [], 0
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("left", "right", "feature", "threshold", "missing_left", "value")
    }
    bias = _margin(learner["learner_model_param"]["base_score"])
    for tree in learner["gradient_booster"]["model"]["trees"]:
        left = np.array(tree["left_children"], dtype=np.int32)
        right = np.array(tree["right_children"], dtype=np.int32)
        inner = left >= 0
        conditions = np.array(tree["split_conditions"], dtype=np.float32)
        value = _expected(
            left, right, conditions.astype(np.float64), np.array(tree["sum_hessian"], dtype=float)
        )
        roots.append(offset)
        bias += float(value[0])
        columns["left"].append(np.where(inner, left + offset, -1))
        columns["right"].append(np.where(inner, right + offset, -1))
        columns["feature"].append(np.array(tree["split_indices"], dtype=np.int32))
        columns["threshold"].append(conditions)
        columns["missing_left"].append(np.array(tree["default_left"], dtype=bool))
        columns["value"].append(value)
        offset += len(left)
    types: dict[str, Any] = {"threshold": np.float32, "missing_left": np.bool_, "value": np.float64}
    arrays = {
        name: np.concatenate(parts).astype(types.get(name, np.int32)) for name, parts in columns.items()
    }
    trees = Trees(
        roots=np.array(roots, dtype=np.int32), bias=bias, feature_count=len(model.feature_names), **arrays
    )
    trees.demand_sound()
    return trees


def prove_additive(model: TrainedModel, trees: Trees, matrix: np.ndarray) -> float:
    """Largest |sum of contributions - margin| over rows float32 [rows, features].

    Raises BundleError when it is above the tolerance: then the arrays are not the model's trees.
    """
    margins = np.asarray(model.booster.inplace_predict(matrix, predict_type="margin"), dtype=np.float64)
    off = float(np.max(np.abs(trees.contributions(matrix).sum(axis=1) - margins), initial=0.0))
    if not off <= TOLERANCE:
        raise BundleError(
            f"Contributions should sum to the margin within {TOLERANCE:g}, and are off by {off:g}. The bundle is refused: "
            "compare the version of xgboost with the one pinned."
        )
    return off


def _margin(base_score: str) -> float:
    """XGBoost 3 writes the base score as a probability, in a vector: "[5E-1]"."""
    probability = float(base_score.strip("[]"))
    return math.log(probability / (1.0 - probability))


def _expected(left: np.ndarray, right: np.ndarray, conditions: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    value = conditions.copy()  # a leaf's condition is its weight
    # Children have higher numbers than their parent, so going backwards meets them first.
    for node in range(len(left) - 1, -1, -1):
        if left[node] >= 0:
            a, b = left[node], right[node]
            value[node] = (value[a] * hessian[a] + value[b] * hessian[b]) / (hessian[a] + hessian[b])
    return value

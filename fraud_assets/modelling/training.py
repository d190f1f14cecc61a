"""Training XGBoost on a training set: by time, with early stopping, the same model for the same rows and seed.

Invariant: the model learns from the train split only; validation decides when to stop (and later the thresholds), and
the test split is never touched here.
"""

import logging
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fraud_assets.modelling.training_set import TrainingSet
from fraud_core.errors import TrainingError

if TYPE_CHECKING:
    import xgboost

Device = Literal["auto", "cpu", "cuda"]
_log = logging.getLogger(__name__)

# OpenMP's threads spin while they wait for one another, which on cores shared with an ingest run doubles the CPU time and
# slows both. It is read when XGBoost is loaded, so it must be said before the first (lazy) import of it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A finite stand-in for infinities, which XGBoost refuses in training data: beyond every value, so it takes the same
# branch of a split as the infinity itself does when scoring.
BEYOND = np.float32(1e30)


@dataclass(frozen=True)
class Parameters:
    """What training can be told; the defaults are for some hundred thousand rows on two cores."""

    device: Device = "auto"
    seed: int = 7
    threads: int = 2
    rounds: int = 400
    stop_after: int = 30
    learning_rate: float = 0.1
    max_depth: int = 6
    min_child_weight: float = 5.0
    subsample: float = 0.8
    columns: float = 0.6
    l2: float = 1.0
    # 256, the default, costs much average precision where amounts are heavy-tailed.
    max_bin: int = 4096

    def for_xgboost(self, device: str) -> dict[str, Any]:
        """The same in XGBoost's words."""
        return {
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "device": device,
            "seed": self.seed,
            "nthread": self.threads,
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "min_child_weight": self.min_child_weight,
            "subsample": self.subsample,
            "colsample_bytree": self.columns,
            "lambda": self.l2,
            "max_bin": self.max_bin,
        }


@dataclass(frozen=True)
class TrainedModel:
    """A booster cut to its best round, so that every later reader sees the same trees.

    curve: log loss on the validation split after each round, beyond the best one too.
    """

    booster: "xgboost.Booster"
    feature_names: tuple[str, ...]
    device: str
    device_note: str
    seconds: float
    parameters: Parameters
    curve: tuple[float, ...] = field(default=(), repr=False)

    @property
    def trees(self) -> int:
        """Trees in the model."""
        return int(self.booster.num_boosted_rounds())

    def predict(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Fraud probabilities float32 [rows] of vectors float32 [rows, features]; NaN is missing."""
        scores = self.booster.inplace_predict(np.ascontiguousarray(matrix, dtype=np.float32))
        return np.asarray(scores, dtype=np.float32)

    @cached_property
    def gain(self) -> dict[str, float]:
        """Share of the total gain per feature, the largest first; features never used are 0."""
        raw = self.booster.get_score(importance_type="total_gain")
        gains = {
            name: float(np.sum(raw.get(f"f{number}", 0.0))) for number, name in enumerate(self.feature_names)
        }
        total = sum(gains.values()) or 1.0
        return {name: gain / total for name, gain in sorted(gains.items(), key=lambda item: -item[1])}


def train(training_set: TrainingSet, parameters: Parameters | None = None) -> TrainedModel:
    """Train on the train split, stopping early by the validation split.

    Raises TrainingError when the device that was asked for cannot train.
    """
    import xgboost

    chosen = parameters or Parameters()
    started = time.perf_counter()
    device, note = choose_device(chosen.device)

    def fit(on: str) -> tuple["xgboost.Booster", dict[str, Any]]:
        learn = _quantised(training_set, "train", chosen)
        validate = _quantised(training_set, "validation", chosen, like=learn)
        progress: dict[str, Any] = {}
        booster = xgboost.train(
            chosen.for_xgboost(on),
            learn,
            chosen.rounds,
            evals=[(validate, "validation")],
            early_stopping_rounds=chosen.stop_after,
            evals_result=progress,
            verbose_eval=False,
        )
        return booster, progress

    try:
        booster, progress = fit(device)
    except xgboost.core.XGBoostError as error:
        if device != "cuda":
            raise TrainingError(f"XGBoost cannot train on these rows: {_first_line(error)}") from error
        if chosen.device == "cuda":
            raise TrainingError(
                f"Training on the GPU failed: {_first_line(error)}. Free the GPU's memory, or set "
                "SPEARHEAD_DEVICE=cpu."
            ) from error
        device, note = "cpu", f"the GPU failed ({_first_line(error)}), so the CPU trained instead"
        _log.warning(note)
        booster, progress = fit(device)
    # Early stopping leaves the trees after the best round in the booster, and exporters take all of them.
    best = booster[: booster.best_iteration + 1]
    best.set_param({"device": "cpu", "nthread": chosen.threads})
    return TrainedModel(
        booster=best,
        feature_names=training_set.feature_names,
        device=device,
        device_note=note,
        seconds=time.perf_counter() - started,
        parameters=chosen,
        curve=tuple(progress["validation"]["logloss"]),
    )


def choose_device(wanted: Device) -> tuple[str, str]:
    """The device to train on and why. Raises TrainingError when `cuda` is demanded and no GPU works."""
    if wanted == "cpu":
        return "cpu", "as set"
    problem = _cuda_problem()
    if problem is None:
        return "cuda", "as set" if wanted == "cuda" else "a GPU works here"
    if wanted == "cuda":
        raise TrainingError(
            f"SPEARHEAD_DEVICE=cuda asks for a GPU, and {problem}. Install the extra `gpu` on a machine with an NVIDIA "
            "driver, or set SPEARHEAD_DEVICE=auto."
        )
    return "cpu", problem


def _cuda_problem() -> str | None:
    """Why CUDA does not work here, found by training one tiny tree on it; None when it does."""
    import xgboost

    if not xgboost.build_info().get("USE_CUDA"):
        return "this XGBoost was built without CUDA"
    try:
        rows = xgboost.DMatrix(np.eye(8, dtype=np.float32), label=np.arange(8) % 2)
        xgboost.train({"device": "cuda", "tree_method": "hist", "max_depth": 1, "verbosity": 0}, rows, 1)
    except xgboost.core.XGBoostError as error:
        return f"CUDA does not work here: {_first_line(error)}"
    return None


def _quantised(
    training_set: TrainingSet,
    split: Literal["train", "validation"],
    parameters: Parameters,
    like: "xgboost.QuantileDMatrix | None" = None,
) -> "xgboost.QuantileDMatrix":
    import xgboost

    matrix = training_set.matrix(split)
    np.copyto(matrix, BEYOND, where=matrix > BEYOND)
    np.copyto(matrix, -BEYOND, where=matrix < -BEYOND)
    # No feature names: ONNX conversion fails on any but f0, f1, …; the order is the bundle's.
    return xgboost.QuantileDMatrix(
        matrix,
        label=training_set.labels(split).astype(np.float32),
        max_bin=parameters.max_bin,
        nthread=parameters.threads,
        ref=like,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]

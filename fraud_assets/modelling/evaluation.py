"""How good a model is on the test rows: one function for any model that gives scores.

Invariant: two evaluations with the same `rows_digest` saw the same rows and the same bootstrap draws, so they may be
compared replicate by replicate; the gate refuses to compare others.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modelling import ranking as ranked
from fraud_assets.modelling.calibration import (
    AmountBin,
    CalibrationBin,
    calibration_bins,
    calibration_error,
    recall_by_amount,
)
from fraud_assets.modelling.card_precision import card_days, card_precision, without_known_compromised
from fraud_assets.modelling.intervals import interval, replicate
from fraud_assets.modelling.training_set import LABEL, Roles, TrainingSet
from fraud_core.errors import TrainingError
from fraud_core.release import Measure, Thresholds

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EvaluationSettings:
    """k: places of card precision; blocked_for: how long a known compromised entity counts as dealt with."""

    k: int = 100
    replicates: int = 200
    seed: int = 7
    blocked_for: timedelta = timedelta(days=7)


@dataclass(frozen=True)
class Evaluation:
    """Metrics with intervals, and what plots and the gate need.

    metrics: auc, average_precision, card_precision_<k>, then values without interval (test_rows, test_frauds,
    calibration_error, and for both thresholds alert share, precision and recall).
    """

    metrics: dict[str, Measure]
    rows_digest: str
    calibration: tuple[CalibrationBin, ...] = ()
    by_amount: tuple[AmountBin, ...] = ()
    replicates: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def value(self, name: str) -> float:
        """One metric's value; NaN when it could not be computed."""
        return self.metrics[name].value if name in self.metrics else float("nan")


def rows_to_judge(training_set: TrainingSet, settings: EvaluationSettings | None = None) -> pl.DataFrame:
    """Rows that every model of this training set is judged on: the test split without known compromised entities.

    Raises TrainingError when no fraud is left in them.
    """
    chosen = settings or EvaluationSettings()
    rows = without_known_compromised(
        training_set.frame, training_set.roles, training_set.windows, chosen.blocked_for
    )
    if not rows[LABEL].any():
        raise TrainingError(
            f"The test window {training_set.windows.test_from:%Y-%m-%d} to {training_set.windows.test_to:%Y-%m-%d} should hold "
            f"frauds of entities that were not compromised before; none are left of {training_set.counts['test'][1]}. "
            "Choose a longer test window."
        )
    return rows


def evaluate(
    rows: pl.DataFrame,
    scores: Floats,
    thresholds: Thresholds,
    roles: Roles,
    settings: EvaluationSettings | None = None,
) -> Evaluation:
    """Judge float32 scores [rows] of labelled rows (event id, event time, entity, `is_fraud`, amount where there is one)."""
    chosen = settings or EvaluationSettings()
    if len(scores) != len(rows) or not np.isfinite(scores).all():
        raise TrainingError(
            f"Evaluation needs one finite score per row: {len(rows)} rows, {len(scores)} scores, "
            f"{int((~np.isfinite(scores)).sum())} of them not finite. Score the same rows again."
        )
    fraud = rows[LABEL].to_numpy()
    order = ranked.rank(scores, fraud)
    days = card_days(rows, scores, roles)
    clusters = _clusters(rows, roles)
    entity_count = int(clusters.max()) + 1
    top = f"card_precision_{chosen.k}"
    values = {
        "auc": ranked.auc(order),
        "average_precision": ranked.average_precision(order),
        top: card_precision(days, chosen.k),
    }

    replicated = replicate(
        {
            "auc": lambda weights: ranked.auc(order, weights[clusters]),
            "average_precision": lambda weights: ranked.average_precision(order, weights[clusters]),
            top: lambda weights: card_precision(days, chosen.k, weights[: days.entity_count]),
        },
        entity_count,
        chosen.replicates,
        chosen.seed,
    )
    metrics: dict[str, Measure] = {}
    for name, value in values.items():
        if np.isfinite(value):
            low, high = interval(replicated[name]) or (None, None)
            metrics[name] = Measure(value=value, low=low, high=high)
    bins = calibration_bins(scores, fraud)
    plain = {
        "test_rows": len(rows),
        "test_frauds": int(fraud.sum()),
        "calibration_error": calibration_error(bins),
        **_at_threshold("review", scores >= np.float32(thresholds.review), fraud),
        **_at_threshold("decline", scores >= np.float32(thresholds.decline), fraud),
    }
    metrics.update({name: Measure(value=float(value)) for name, value in plain.items()})
    amounts = (
        rows[roles.amount].cast(pl.Float64).to_numpy()
        if roles.amount and roles.amount in rows.columns
        else None
    )
    return Evaluation(
        metrics=metrics,
        rows_digest=_digest(rows, roles),
        calibration=bins,
        by_amount=()
        if amounts is None
        else recall_by_amount(amounts, scores, fraud, review=thresholds.review, decline=thresholds.decline),
        replicates=replicated,
    )


def _at_threshold(
    name: str, flagged: npt.NDArray[np.bool_], fraud: npt.NDArray[np.bool_]
) -> dict[str, float]:
    hits = int((flagged & fraud).sum())
    found = {
        f"{name}_share": float(flagged.mean()),
        f"{name}_recall": hits / int(fraud.sum()),
    }
    if flagged.any():
        found[f"{name}_precision"] = hits / int(flagged.sum())
    return found


def _clusters(rows: pl.DataFrame, roles: Roles) -> npt.NDArray[np.int64]:
    """Entity numbers as `card_days` gives them; each row without an entity is a cluster of its own, numbered after."""
    number = rows[roles.entity].rank("dense").cast(pl.Int64) - 1
    missing = number.is_null().to_numpy()
    clusters = number.fill_null(0).to_numpy().copy()
    known = int(clusters[~missing].max(initial=-1)) + 1
    clusters[missing] = known + np.arange(int(missing.sum()))
    return clusters


def _digest(rows: pl.DataFrame, roles: Roles) -> str:
    digest = hashlib.sha256("\n".join(rows[roles.event_id].cast(pl.String).to_list()).encode())
    digest.update(np.packbits(rows[LABEL].to_numpy()).tobytes())
    return digest.hexdigest()

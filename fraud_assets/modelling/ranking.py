"""Metrics of a ranking by score, with weights, so that one sorting serves every bootstrap replicate.

Definitions are scikit-learn's: ties share a threshold; average precision is the step-wise sum over thresholds.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Rows sorted by falling score. order: row numbers; ends: last position of each group of equal scores."""

    order: npt.NDArray[np.intp]
    fraud: Array
    ends: npt.NDArray[np.intp]
    scores: Array

    def counts(self, weights: npt.ArrayLike | None = None) -> tuple[Array, Array]:
        """Weights of frauds and of genuine rows at or above each distinct score, the highest first."""
        weight = np.ones(len(self.order)) if weights is None else np.asarray(weights, np.float64)[self.order]
        frauds = np.cumsum(weight * self.fraud)[self.ends]
        genuine = np.cumsum(weight * (1.0 - self.fraud))[self.ends]
        return frauds, genuine


def rank(scores: npt.ArrayLike, fraud: npt.ArrayLike) -> Ranking:
    """Sort rows by score, once. scores: float [rows]; fraud: bool [rows]."""
    found = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-found, kind="stable")
    ordered = found[order]
    ends = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]
    return Ranking(order, np.asarray(fraud, dtype=np.float64)[order], ends, ordered[ends])


def auc(ranking: Ranking, weights: npt.ArrayLike | None = None) -> float:
    """Area under the ROC curve: the chance that a fraud outranks a genuine payment. NaN without either."""
    frauds, genuine = (np.r_[0.0, counts] for counts in ranking.counts(weights))
    if not frauds[-1] or not genuine[-1]:
        return float("nan")
    return float(np.trapezoid(frauds, genuine) / (frauds[-1] * genuine[-1]))


def average_precision(ranking: Ranking, weights: npt.ArrayLike | None = None) -> float:
    """Mean precision over the frauds, as they are found from the highest score down. NaN without frauds."""
    frauds, genuine = ranking.counts(weights)
    if not frauds[-1]:
        return float("nan")
    alerts = frauds + genuine
    precision = np.divide(frauds, alerts, out=np.zeros_like(frauds), where=alerts > 0)
    return float(np.sum(np.diff(frauds, prepend=0.0) * precision) / frauds[-1])


def precision_recall(ranking: Ranking) -> tuple[Array, Array, Array]:
    """Precision and recall at each distinct score, and those scores, the highest first."""
    frauds, genuine = ranking.counts()
    return frauds / (frauds + genuine), frauds / frauds[-1], ranking.scores

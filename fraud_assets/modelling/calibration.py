"""Whether a score of 0.3 means three frauds in ten, and how recall depends on the amount."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class CalibrationBin:
    """Payments of similar score: how many, their mean score and their share of frauds."""

    rows: int
    mean_score: float
    fraud_share: float


@dataclass(frozen=True)
class AmountBin:
    """Frauds of similar amount (amount_from <= amount < amount_to) and the shares that were flagged."""

    amount_from: float
    amount_to: float
    frauds: int
    reviewed: float
    declined: float


def calibration_bins(
    scores: npt.NDArray[np.floating], fraud: npt.NDArray[np.bool_], bins: int = 12
) -> tuple[CalibrationBin, ...]:
    """Bins with equal numbers of frauds, because equal numbers of payments would put every fraud into the last."""
    order = np.argsort(scores, kind="stable")
    ordered, frauds = scores[order].astype(np.float64), fraud[order].astype(np.float64)
    total = frauds.sum()
    place = np.minimum((np.cumsum(frauds) * bins / max(total, 1)).astype(np.int64), bins - 1)
    result = []
    for number in range(bins):
        chosen = place == number
        if chosen.any():
            result.append(
                CalibrationBin(int(chosen.sum()), float(ordered[chosen].mean()), float(frauds[chosen].mean()))
            )
    return tuple(result)


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """Mean distance between score and share of frauds over the bins, each weighing as much as its payments."""
    rows = sum(found.rows for found in bins)
    return sum(found.rows * abs(found.mean_score - found.fraud_share) for found in bins) / max(rows, 1)


def recall_by_amount(
    amounts: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    fraud: npt.NDArray[np.bool_],
    *,
    review: float,
    decline: float,
    bins: int = 5,
) -> tuple[AmountBin, ...]:
    """Recall of frauds in bins of the amount with about equal numbers of frauds."""
    known = fraud & ~np.isnan(amounts)
    if not known.any():
        return ()
    edges = np.unique(np.quantile(amounts[known], np.linspace(0, 1, bins + 1)))
    edges = np.r_[edges[:-1], np.inf] if len(edges) > 1 else np.array([edges[0], np.inf])
    result = []
    for low, high in pairwise(edges):
        chosen = known & (amounts >= low) & (amounts < high)
        if chosen.any():
            found = scores[chosen]
            result.append(
                AmountBin(
                    float(low),
                    float(high),
                    int(chosen.sum()),
                    float((found >= review).mean()),
                    float((found >= decline).mean()),
                )
            )
    return tuple(result)

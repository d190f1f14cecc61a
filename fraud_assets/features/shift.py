"""How far a day's features lie from those of the days before: the population stability index, from counts per bin.

PSI = Σ (p - q) · ln(p / q) over bins of equal share in the reference, absent values being a bin of their own. The usual
reading: below 0.1 nothing, 0.1 to 0.25 a shift, above 0.25 a large one.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

SHIFT: Final = 0.1
LARGE_SHIFT: Final = 0.25
REFERENCE_DAYS: Final = 14
LEAST_ROWS: Final = 200
"""A day with fewer rows says nothing about a distribution."""
_PARTS = 10


def shifts(statistics: pl.DataFrame, reference_days: int = REFERENCE_DAYS) -> pl.DataFrame:
    """PSI of each feature and day against up to `reference_days` days before it: event_date, feature, psi.

    `statistics`: rows of the table feature_statistics. Days without a reference, days of few rows, and reference days
    on which the feature meant something else (another hash) are left out.
    """
    found: list[tuple[date, str, float]] = []
    for (feature,), rows in statistics.filter(pl.col("rows") >= LEAST_ROWS).group_by("feature"):
        days = rows.sort("event_date").to_dicts()
        for place, day in enumerate(days):
            since = day["event_date"] - timedelta(days=reference_days)
            before = [
                each
                for each in days[:place]
                if each["event_date"] >= since and each["feature_hash"] == day["feature_hash"]
            ]
            if before:
                found.append((day["event_date"], str(feature), psi(before, [day])))
    schema = {"event_date": pl.Date(), "feature": pl.String(), "psi": pl.Float64()}
    return pl.DataFrame(found, schema=schema, orient="row").sort("event_date", "feature")


def psi(reference: Sequence[Mapping[str, Any]], present: Sequence[Mapping[str, Any]]) -> float:
    """PSI between two groups of days, each a row of the statistics with `bins`, `counts` and `nulls`."""
    expected, expected_nulls = _counts(reference)
    found, found_nulls = _counts(present)
    places = sorted({*expected, *found})
    usual = np.array([expected.get(place, 0) for place in places], dtype=float)
    now = np.array([found.get(place, 0) for place in places], dtype=float)
    edges = _equal_parts(usual)
    usual = np.append(np.add.reduceat(usual, edges) if places else [], expected_nulls)
    now = np.append(np.add.reduceat(now, edges) if places else [], found_nulls)
    # Half an event in each bin, so that an empty one is rare rather than impossible.
    p = (now + 0.5) / (now + 0.5).sum()
    q = (usual + 0.5) / (usual + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def _counts(days: Sequence[Mapping[str, Any]]) -> tuple[dict[int, int], int]:
    total: dict[int, int] = {}
    nulls = 0
    for day in days:
        nulls += day["nulls"]
        for place, count in zip(day["bins"], day["counts"], strict=True):
            total[place] = total.get(place, 0) + count
    return total, nulls


def _equal_parts(counts: np.ndarray) -> np.ndarray:
    """Where to begin the bins that hold about a tenth of the reference each."""
    if not counts.sum():
        return np.array([0])
    before = np.concatenate([[0.0], np.cumsum(counts)[:-1]]) / counts.sum()
    return np.unique(
        np.searchsorted(before, np.arange(_PARTS) / _PARTS, side="left").clip(0, len(counts) - 1)
    )

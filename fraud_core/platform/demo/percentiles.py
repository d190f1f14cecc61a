"""Percentiles of a few measured values, by the nearest-rank method."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed. `values` must not be empty."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]

"""When people pay: daily and weekly rhythms, drawn by inverse distribution so that a day costs one search."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

# Weight of each local hour for each kind of person, and of each weekday (Monday first).
_HOURS: Final = np.array(
    [  # 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23
        [1, 0, 0, 0, 0, 1, 3, 8, 9, 5, 5, 6, 11, 9, 5, 5, 6, 10, 13, 11, 8, 6, 4, 2],  # office hours
        [0, 0, 0, 0, 1, 3, 7, 9, 10, 12, 12, 11, 9, 7, 7, 7, 7, 6, 5, 4, 3, 2, 1, 0],  # early riser
        [7, 5, 4, 3, 2, 1, 1, 1, 2, 2, 3, 4, 5, 6, 6, 6, 7, 8, 9, 10, 11, 12, 12, 9],  # night owl
        [1, 1, 0, 0, 0, 1, 2, 4, 6, 9, 11, 11, 9, 9, 10, 10, 9, 8, 8, 7, 5, 4, 3, 2],  # weekend shopper
        [4, 3, 3, 2, 2, 3, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6, 5, 5, 5, 5, 5, 5, 5, 5],  # shift worker
    ],
    dtype=np.float64,
)
_WEEKDAYS: Final = np.array(
    [
        [1.0, 1.0, 1.0, 1.1, 1.3, 1.1, 0.6],
        [1.1, 1.0, 1.1, 1.0, 1.1, 0.9, 0.7],
        [0.8, 0.8, 0.9, 1.0, 1.4, 1.5, 0.9],
        [0.6, 0.6, 0.6, 0.8, 1.2, 2.1, 1.2],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ]
)
SHARES: Final = np.array([0.42, 0.18, 0.13, 0.19, 0.08])
"""How many people keep each rhythm."""

_PROFILES: Final = len(SHARES)
_CDF: Final = np.cumsum(_HOURS / _HOURS.sum(axis=1, keepdims=True), axis=1)
# Profile p's distribution moved to (p, p+1]: one sorted array, so that all rows are drawn by one search.
_STACKED: Final = np.minimum(_CDF, 1.0).ravel() + np.repeat(np.arange(_PROFILES), 24)
_HOUR_SHARE: Final = _HOURS / _HOURS.sum(axis=1, keepdims=True) * 24


def local_time_of_day(rng: np.random.Generator, profile: NDArray[np.int8]) -> NDArray[np.int64]:
    """Milliseconds since local midnight for people of these profiles."""
    stacked = np.searchsorted(_STACKED, profile + rng.random(len(profile)), side="left")
    hour = np.clip(stacked - profile.astype(np.int64) * 24, 0, 23)
    time_of_day: NDArray[np.int64] = hour * HOUR_MS + rng.integers(0, HOUR_MS, len(profile))
    return time_of_day


def weekday_factor(profile: NDArray[np.int8], day: int) -> NDArray[np.float64]:
    """Activity of each person on `day` (days since 1970-01-01, a Thursday) relative to an average day."""
    weekly = _WEEKDAYS / _WEEKDAYS.mean(axis=1, keepdims=True)
    factor: NDArray[np.float64] = weekly[profile, (day + 3) % 7]
    return factor


def hour_factor(profile: NDArray[np.int8], local_hour: NDArray[np.int64]) -> NDArray[np.float64]:
    """Activity of each person at a local hour relative to an average hour."""
    factor: NDArray[np.float64] = _HOUR_SHARE[profile, local_hour]
    return factor

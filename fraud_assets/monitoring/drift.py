"""How far each feature has moved on the newest day, from the table `feature_statistics`; the graph shows the same numbers."""

from datetime import UTC, datetime, time, timedelta
from typing import Final

import polars as pl
from prometheus_client.metrics_core import Metric

from fraud_assets.features.shift import REFERENCE_DAYS, shifts
from fraud_assets.features.statistics import STATISTICS, read_statistics
from fraud_assets.lake import Lake
from fraud_assets.monitoring.families import family

_RECENT: Final = timedelta(days=7)
"""A day older than this before the newest statistics tells nothing of now."""


class Drift:
    """Shifts of the newest day that has any; what a version of the table has told is not computed again."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._told: tuple[int, list[Metric]] = (-1, [])

    def __call__(self) -> list[Metric]:
        if not self._lake.exists(STATISTICS):
            return []
        version = self._lake.table(STATISTICS).version()
        if self._told[0] != version:
            self._told = version, self._metrics()
        return self._told[1]

    def _metrics(self) -> list[Metric]:
        last = self._lake.scan(STATISTICS).select(pl.col("event_date").max()).collect().item()
        if last is None:
            return []
        moved = shifts(read_statistics(self._lake, last - _RECENT - timedelta(days=REFERENCE_DAYS), last))
        newest = moved.filter(pl.col("event_date") == pl.col("event_date").max())
        if not newest.height or newest["event_date"][0] < last - _RECENT:
            return []
        day = datetime.combine(newest["event_date"][0], time(), UTC).timestamp()
        values = (((name,), value) for _, name, value in newest.iter_rows())
        text = "Population stability index of a feature's newest day against the 14 days before; from 0.1 on it moved, from 0.25 on much."
        return [
            family("feature_shift_psi", text, ("feature",), values),
            family("feature_shift_day_timestamp_seconds", "That day, at midnight UTC.", (), [((), day)]),
        ]

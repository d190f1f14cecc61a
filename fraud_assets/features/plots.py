"""Pictures of the feature statistics, as PNG bytes for asset metadata."""

import numpy as np
import polars as pl

from fraud_assets.canvas import canvas, png
from fraud_assets.features.shift import LARGE_SHIFT

_MOST_FEATURES = 30


def shift_map(shifts: pl.DataFrame) -> bytes:
    """PSI per feature and day as colours; the features that moved most on top."""
    worst = (
        shifts.group_by("feature").agg(pl.col("psi").max()).sort("psi", "feature", descending=[True, False])
    )
    return _map(
        shifts, worst["feature"].head(_MOST_FEATURES).to_list(), "psi", 2 * LARGE_SHIFT,
        "Shift against the 14 days before (PSI)",
    )  # fmt: skip


def null_map(statistics: pl.DataFrame) -> bytes:
    """Share of absent values per feature and day as colours; features that are always given are left out."""
    share = statistics.with_columns((pl.col("nulls") / pl.col("rows")).alias("share"))
    worst = share.group_by("feature").agg(pl.col("share").max()).filter(pl.col("share") > 0)
    named = worst.sort("share", "feature", descending=[True, False])["feature"].head(_MOST_FEATURES).to_list()
    return _map(share, named, "share", 1.0, "Share of absent values")


def _map(frame: pl.DataFrame, features: list[str], column: str, top: float, title: str) -> bytes:
    days = frame["event_date"].unique().sort().to_list()
    cells = np.full((max(1, len(features)), max(1, len(days))), np.nan)
    places = {feature: place for place, feature in enumerate(features)}
    at = {day: place for place, day in enumerate(days)}
    for day, feature, value in frame.select("event_date", "feature", column).iter_rows():
        if feature in places:
            cells[places[feature], at[day]] = value
    figure, axes = canvas(title, height=max(2.2, 1.2 + 0.17 * len(features)))
    axes.grid(visible=False)
    drawn = axes.imshow(cells, aspect="auto", cmap="YlOrRd", vmin=0, vmax=top, interpolation="nearest")
    axes.set_yticks(range(len(features)), features, fontsize=7)
    step = max(1, len(days) // 8)
    axes.set_xticks(range(0, len(days), step), [str(day) for day in days[::step]], fontsize=7, rotation=25)
    figure.colorbar(drawn, ax=axes, shrink=0.8)
    if not features or not days:
        axes.text(0.5, 0.5, "nothing to show yet", transform=axes.transAxes, ha="center", va="center")
    return png(figure)

"""Data-quality results over time: counts per rule, and pictures of how they develop."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from fraud_assets.canvas import canvas, png
from fraud_assets.quality.results import ANY

_STEPS: Final = {
    "10s": timedelta(seconds=10),
    "1m": timedelta(minutes=1),
    "10m": timedelta(minutes=10),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
}
_MOST_BINS = 90
_GAP = 3
"""Steps without a batch after which a line is not drawn on."""
_RULES = 7
_COLOURS = ("#c2410c", "#1d4ed8", "#0f766e", "#a16207", "#7e22ce", "#be185d", "#4d7c0f", "#94a3b8")


def counts_per_rule(results: pl.DataFrame) -> pl.DataFrame:
    """Stream, code, column, checked, failed, share over all batches given; the whole of a stream first, then its worst rules.

    A rule was checked in every batch, also in those where it failed nowhere and has no row.
    """
    checked = results.filter(code=ANY).group_by("stream").agg(pl.col("checked").sum())
    failed = results.group_by("stream", "code", "column").agg(pl.col("failed").sum())
    share = pl.when(pl.col("checked") > 0).then(pl.col("failed") / pl.col("checked")).otherwise(0.0)
    return (
        failed.join(checked, on="stream")
        .with_columns(share.alias("share"))
        .sort("stream", pl.col("code") == ANY, "failed", "code", descending=[False, True, True, False])
        .select("stream", "code", "column", "checked", "failed", "share")
    )


def refused_share(results: pl.DataFrame) -> bytes:
    """Share of refused events over time, a line per stream."""
    figure, axes = canvas("Refused events, share of those judged")
    whole = results.filter(code=ANY)
    every = step(whole)
    for colour, (stream,) in zip(
        _COLOURS, whole.select("stream").unique().sort("stream").iter_rows(), strict=False
    ):
        line = (
            whole.filter(stream=stream)
            .group_by(pl.col("judged_at").dt.truncate(every).alias("at"))
            .agg((pl.col("failed").sum() / pl.col("checked").sum()).alias("share"))
            .sort("at")
        )
        drawn = broken_at_gaps(line, every)
        # Unclipped: a point at zero is a point, not half of one.
        axes.plot(
            drawn["at"].to_list(),
            drawn["share"].to_list(),
            "o-",
            ms=3,
            color=colour,
            label=stream,
            clip_on=False,
        )
    axes.set(xlabel=f"judged at (UTC), per {every}", ylabel="share refused", xlim=_span(results, every))
    axes.yaxis.set_major_formatter("{x:.2%}")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", labelrotation=25, labelsize=8)
    axes.legend(loc="best")
    return png(figure)


def failures_by_rule(results: pl.DataFrame) -> bytes:
    """Violations over time, stacked by rule: the most frequent ones, the rest together."""
    figure, axes = canvas("Violations by rule")
    every = step(results)
    rules = results.filter(pl.col("code") != ANY).with_columns(
        pl.col("judged_at").dt.truncate(every).alias("at")
    )
    most = rules.group_by("code").agg(pl.col("failed").sum()).sort("failed", "code", descending=[True, False])
    named = most["code"].head(_RULES).to_list()
    drawn = rules.with_columns(
        pl.when(pl.col("code").is_in(named)).then("code").otherwise(pl.lit("other rules")).alias("rule")
    )
    times = drawn["at"].unique().sort().to_list()
    floor = [0] * len(times)
    width = 0.9 * (_STEPS[every] / timedelta(days=1))  # matplotlib counts days
    for colour, rule in zip(_COLOURS, [*named, "other rules"], strict=False):
        counted = dict(drawn.filter(rule=rule).group_by("at").agg(pl.col("failed").sum()).iter_rows())
        heights = [counted.get(at, 0) for at in times]
        if any(heights):
            axes.bar(times, heights, width=width, bottom=floor, color=colour, label=rule)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    axes.set(xlabel=f"judged at (UTC), per {every}", ylabel="violations", xlim=_span(results, every))
    axes.tick_params(axis="x", labelrotation=25, labelsize=8)
    if named:
        axes.legend(loc="upper left", fontsize=7)
        axes.set_ylim(top=max(floor) * (1.25 + 0.08 * len(named)))
    return png(figure)


def broken_at_gaps(line: pl.DataFrame, every: str) -> pl.DataFrame:
    """`at` and `share` with a point without a value in each longer time without batches: there is nothing to draw through."""
    gaps = line.filter(pl.col("at").diff() > _GAP * _STEPS[every]).select(
        pl.col("at") - _STEPS[every], pl.lit(float("nan")).alias("share")
    )
    return pl.concat([line, gaps]).sort("at")


def _span(results: pl.DataFrame, every: str) -> tuple[datetime, datetime] | None:
    """The times of all batches, so that both pictures show the same; None where there are none."""
    first, last = results["judged_at"].min(), results["judged_at"].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    return first - _STEPS[every], last + _STEPS[every]


def step(results: pl.DataFrame) -> str:
    """The step of time that gives at most some 90 points."""
    first, last = results["judged_at"].min(), results["judged_at"].max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return "1h"
    return next((name for name, each in _STEPS.items() if (last - first) / each <= _MOST_BINS), "7d")


@dataclass(frozen=True)
class NewReason:
    """A rule that fails of late and did not before."""

    stream: str
    code: str
    failed: int


def new_reasons(results: pl.DataFrame, since: datetime) -> list[NewReason]:
    """Rules that failed since then and never before, in streams that were judged before; the most frequent first."""
    rules = results.filter(pl.col("code") != ANY)
    known = results.filter(pl.col("judged_at") < since)
    fresh = (
        rules.filter(pl.col("judged_at") >= since)
        .join(known.select("stream").unique(), on="stream", how="semi")
        .join(known.select("stream", "code"), on=["stream", "code"], how="anti")
        .group_by("stream", "code")
        .agg(pl.col("failed").sum())
        .sort("failed", "stream", "code", descending=[True, False, False])
    )
    return [NewReason(*row) for row in fresh.iter_rows()]

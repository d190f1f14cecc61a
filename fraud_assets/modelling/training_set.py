"""Which payments a model may learn from, and with which label.

Invariants: the label is the latest known at training time T, and a payment without one is genuine; eligible is only
what had `maturity` to be reported (event time <= T - maturity) and had an outcome (a declined payment has none); a payment is
one row: of one that came again after its id was forgotten, the first that became known.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modelling.windows import Windows, choose_windows
from fraud_core.errors import TrainingError
from fraud_core.features import told_order

Split = Literal["train", "validation", "delay", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "delay", "test")
LABEL = "is_fraud"


@dataclass(frozen=True)
class Roles:
    """Names of the columns that play a role; the contract says which they are."""

    event_id: str
    event_time: str
    entity: str
    amount: str | None = None
    decision: str | None = "decision"
    declined: str = "decline"
    known_at: str = "known_at"
    label: str = LABEL


@dataclass(frozen=True)
class TrainingSet:
    """Labelled rows in order of event time, with the split each belongs to.

    frame: event id, event time, entity, amount where there is one, `is_fraud`, `split` and the features (Float32).
    left_out: how many rows were not eligible, by reason.
    """

    frame: pl.DataFrame
    feature_names: tuple[str, ...]
    roles: Roles
    windows: Windows
    trained_at: datetime
    maturity: timedelta
    left_out: dict[str, int] = field(default_factory=dict)

    def rows(self, *splits: Split) -> pl.DataFrame:
        """Rows of one or more splits, in order of event time."""
        return self.frame.filter(pl.col("split").cast(pl.String).is_in(splits))

    def matrix(self, *splits: Split) -> npt.NDArray[np.float32]:
        """Features of one or more splits, float32 [rows, features]; null is NaN."""
        return feature_matrix(self.rows(*splits), self.feature_names)

    def labels(self, *splits: Split) -> npt.NDArray[np.bool_]:
        """Labels of one or more splits."""
        return self.rows(*splits)[LABEL].to_numpy()

    @cached_property
    def counts(self) -> dict[Split, tuple[int, int]]:
        """(rows, frauds) of each split."""
        return {split: (len(rows), int(rows[LABEL].sum())) for split in SPLITS for rows in [self.rows(split)]}

    @cached_property
    def snapshot(self) -> str:
        """Name of this very content: two sets with the same rows, labels, features and windows share it."""
        digest = hashlib.sha256(repr((self.feature_names, self.windows, str(self.maturity))).encode())
        for column in (self.roles.event_id, LABEL, "split", *self.feature_names):
            digest.update(column.encode() + b"\0")
            series = self.frame[column]
            if series.dtype == pl.Float32:
                digest.update(np.ascontiguousarray(series.fill_null(float("nan")).to_numpy()).tobytes())
            else:
                digest.update("\n".join(series.cast(pl.String).fill_null("").to_list()).encode())
        return f"ts-{self.trained_at:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"


def select_training_rows(
    features_frame: pl.DataFrame | pl.LazyFrame,
    labels_frame: pl.DataFrame | pl.LazyFrame,
    trained_at: datetime,
    maturity: timedelta,
    *,
    roles: Roles,
    feature_names: Sequence[str],
    windows: Windows | None = None,
    **choice: timedelta | float | None,
) -> TrainingSet:
    """Join features with the labels known at `trained_at` and split the eligible rows by time.

    features_frame: a row per payment (seldom more, see above): event id, event time, entity, `known_at`, the features; optionally amount and
    decision. labels_frame: event id, `is_fraud`, `known_at`, their place on the log, any number of rows per payment. `choice` goes to
    `choose_windows` when no windows are given. Raises TrainingError when a column is missing or a split has no fraud.
    """
    features, labels = features_frame.lazy(), labels_frame.lazy()
    present = features.collect_schema().names()
    amount = roles.amount if roles.amount in present else None
    decision = roles.decision if roles.decision in present else None
    _demand(
        present, [roles.event_id, roles.event_time, roles.entity, roles.known_at, *feature_names], "features"
    )
    _demand(labels.collect_schema().names(), [roles.event_id, roles.label, roles.known_at], "labels")

    arrived = features.filter(pl.col(roles.known_at) <= trained_at)
    declined = pl.lit(False) if decision is None else (pl.col(decision) == roles.declined).fill_null(False)
    immature = pl.col(roles.event_time) > trained_at - maturity
    tally = arrived.select(
        rows=pl.len(),
        first=pl.col(roles.event_time).min(),
        newest=pl.col(roles.event_time).filter(~declined, ~immature).max(),
        declined=declined.sum(),
        immature=(immature & ~declined).sum(),
    ).collect()
    if not tally["rows"][0]:
        raise TrainingError(
            f"No payment was known at {trained_at:%Y-%m-%d %H:%M} UTC, so there is nothing to learn from. "
            "Ingest a history and build features first."
        )
    if windows is None:
        windows = choose_windows(
            tally["first"][0],
            trained_at,
            maturity,
            newest=tally["newest"][0],
            **choice,  # type: ignore[arg-type]  # chosen by name
        )

    chosen = (
        arrived.filter(~declined, ~immature)
        .filter(pl.col(roles.event_time).is_between(windows.train_from, windows.test_to, closed="left"))
        .select(
            roles.event_id,
            roles.event_time,
            roles.entity,
            roles.known_at,
            *([amount] if amount else []),
            *(pl.col(name).cast(pl.Float32) for name in feature_names),
        )
        .join(latest_labels(labels, trained_at, roles), on=roles.event_id, how="left", maintain_order="left")
        .with_columns(pl.col(LABEL).fill_null(False), _split(pl.col(roles.event_time), windows))
        .sort(roles.event_time, roles.event_id, roles.known_at)
        .collect()
    )
    left_out = {name: int(tally[name][0]) for name in ("declined", "immature")}
    left_out["outside_windows"] = int(tally["rows"][0]) - len(chosen) - sum(left_out.values())
    frame = _each_once(chosen, roles).drop(roles.known_at)
    left_out["repeated"] = len(chosen) - len(frame)
    result = TrainingSet(frame, tuple(feature_names), roles, windows, trained_at, maturity, left_out)
    _demand_frauds(result)
    return result


def _each_once(rows: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """Of the rows of one payment the first that became known, in the order of the rows."""
    if rows[roles.event_id].n_unique() == len(rows):
        return rows
    first = rows.sort(roles.known_at, maintain_order=True).unique(roles.event_id, keep="first")
    return first.sort(roles.event_time, roles.event_id)


def latest_labels(labels: pl.LazyFrame, trained_at: datetime, roles: Roles) -> pl.LazyFrame:
    """One row per labelled payment: what was known of it at `trained_at`, at equal times what stands later on the log; as features see it.

    Rows that do not know their place on the log (`told_order`) keep their order.
    """
    order = [
        roles.known_at,
        *(name for name in told_order(labels.collect_schema()) if name != roles.known_at),
    ]
    return (
        labels.filter(pl.col(roles.known_at) <= trained_at)
        .sort(order, maintain_order=True)
        .group_by(roles.event_id, maintain_order=True)
        .agg(pl.col(roles.label).last().alias(LABEL))
    )


def first_decisions(decisions: pl.LazyFrame, event_id: str) -> pl.LazyFrame:
    """Event id and `decision` of each payment, as it was first decided: that answer is the one that its payer met.

    A payment is decided again where the online state was wiped in between. decisions: rows of that table, in any order.
    """
    order = ("known_at", "_shard", "_incarnation", "_offset", "_index")
    return (
        decisions.select(event_id, "decision", *order)
        .sort(order)
        .unique(event_id, keep="first", maintain_order=True)
        .select(event_id, "decision")
    )


def feature_matrix(frame: pl.DataFrame, feature_names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Columns of a frame as float32 [rows, features], row-major as models read it; null is NaN."""
    matrix = np.empty((len(frame), len(feature_names)), dtype=np.float32)
    for number, name in enumerate(feature_names):
        matrix[:, number] = frame[name].cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return matrix


def _split(at: pl.Expr, windows: Windows) -> pl.Expr:
    return (
        pl.when(at < windows.validation_from)
        .then(pl.lit("train"))
        .when(at < windows.train_to)
        .then(pl.lit("validation"))
        .when(at < windows.test_from)
        .then(pl.lit("delay"))
        .otherwise(pl.lit("test"))
        .cast(pl.Enum(SPLITS))
        .alias("split")
    )


def _demand(present: Sequence[str], needed: Sequence[str], what: str) -> None:
    missing = [name for name in needed if name not in present]
    if missing:
        raise TrainingError(
            f"The {what} frame should have the columns {', '.join(needed[:6])}…; missing: {', '.join(missing)}. "
            "Build the features again with the present declaration."
        )


def _demand_frauds(training_set: TrainingSet) -> None:
    for split in ("train", "validation", "test"):
        rows, frauds = training_set.counts[split]
        if not 0 < frauds < rows:
            raise TrainingError(
                f"The {split} window should hold frauds and genuine payments; {rows} payments with {frauds} known frauds "
                f"were found ({training_set.windows.as_text()}). Ingest the labels or a longer history, or choose other windows."
            )

"""Card precision@k by the protocol of the Fraud Detection Handbook (Le Borgne et al., chapter 4), for any entity.

Each day the entities ("cards") are ranked by their highest score; the precision of the day is the share of compromised
ones among the first k; a compromised entity that was found drops out of later days; the metric is the mean over days.
Before that, entities whose fraud was known already leave the test rows: an investigator would not be sent there again.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_assets.modelling.training_set import LABEL, Roles
from fraud_assets.modelling.windows import Windows


@dataclass(frozen=True)
class CardDays:
    """One row per entity and day, sorted by day, then falling score: what the metric needs, prepared once.

    entities: numbers 0 … entity_count - 1; starts: first row of each day, and one past the last.
    """

    entities: npt.NDArray[np.int64]
    compromised: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    entity_count: int


def without_known_compromised(
    rows: pl.DataFrame, roles: Roles, windows: Windows, lookback: timedelta = timedelta(days=7)
) -> pl.DataFrame:
    """The test rows of entities that were not yet known to be compromised.

    rows: all splits of a training set. An entity leaves the test rows of a day when it had a fraud between
    test_from - delay - lookback and that day - delay (by then the fraud would have been reported).
    """
    frauds = rows.filter(
        pl.col(LABEL), pl.col(roles.event_time) >= windows.test_from - windows.delay - lookback
    )
    first_known = frauds.group_by(roles.entity).agg(
        (pl.col(roles.event_time).min().dt.truncate("1d") + windows.delay + timedelta(days=1)).alias("_known")
    )
    test = rows.filter(pl.col(roles.event_time) >= windows.test_from)
    return (
        test.join(first_known, on=roles.entity, how="left", maintain_order="left")
        .filter(
            pl.col("_known").is_null()
            | (pl.col(roles.event_time).dt.truncate("1d") < pl.col("_known"))
            | pl.col(roles.entity).is_null()
        )
        .drop("_known")
    )


def card_days(rows: pl.DataFrame, scores: npt.ArrayLike, roles: Roles) -> CardDays:
    """Prepare test rows and their scores; rows without an entity are left out."""
    days = (
        rows.select(
            pl.col(roles.event_time).dt.truncate("1d").alias("day"),
            pl.col(roles.entity).alias("entity"),
            pl.col(LABEL),
            pl.Series("score", np.asarray(scores, dtype=np.float64)),
        )
        .drop_nulls("entity")
        .group_by("day", "entity")
        .agg(pl.col("score").max(), pl.col(LABEL).any())
        # Equal scores are ordered by entity, so that the metric is one number.
        .sort("day", -pl.col("score"), "entity")
    )
    entities = days["entity"].rank("dense").cast(pl.Int64).to_numpy() - 1
    changes = np.flatnonzero(days["day"].to_numpy()[1:] != days["day"].to_numpy()[:-1]) + 1
    starts = np.r_[0, changes, len(days)] if len(days) else np.zeros(1, np.int64)
    return CardDays(
        entities, days[LABEL].to_numpy(), starts.astype(np.int64), int(entities.max(initial=-1)) + 1
    )


def card_precision(days: CardDays, k: int = 100, weights: npt.NDArray[np.float64] | None = None) -> float:
    """Mean over days of the share of compromised entities among the first k. NaN without a day.

    weights: how often each entity counts (a bootstrap replicate); one that counts twice fills two of the k places.
    """
    weight = np.ones(days.entity_count) if weights is None else weights
    detected = np.zeros(days.entity_count, dtype=bool)
    precision = []
    for start, end in zip(days.starts[:-1], days.starts[1:], strict=True):
        entities = days.entities[start:end]
        compromised = days.compromised[start:end]
        remains = ~detected[entities]
        entities, compromised = entities[remains], compromised[remains]
        places = np.cumsum(weight[entities])
        taken = np.diff(np.minimum(places, k), prepend=0.0)
        precision.append(float(np.sum(taken * compromised)) / k)
        detected[entities[compromised & (taken > 0)]] = True
    return float(np.mean(precision)) if precision else float("nan")

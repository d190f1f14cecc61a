"""Parity: the vector a decision was made with against the vector of the feature table, bit for bit.

Equality is of the float32 as stored, NaN equal to NaN; there is no tolerance. A payment that was decided again once its id was
forgotten has a row per decision: each is compared with its own, which became known at the same time.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from fraud_assets.features import FEATURES
from fraud_assets.lake import Lake
from fraud_core.contracts import Contract, Contracts
from fraud_core.features import FeatureSet


@dataclass(frozen=True)
class Parity:
    """Outcome of one comparison."""

    decisions: int
    """Decisions of the range that were made with this feature set."""
    compared: int
    """Of those, decisions whose transaction is in the feature table."""
    mismatches: dict[str, int]
    """Differing values per feature; features without any are absent."""
    first_difference: dict[str, object] | None
    """The earliest differing value: event id, feature, served, recomputed."""
    other_feature_sets: int = 0
    """Decisions of the range that were made with another feature set, and are not compared."""

    @property
    def proved(self) -> bool:
        """Every decision was compared, and no value differed."""
        return self.values == 0 and self.compared == self.decisions

    @property
    def values(self) -> int:
        return sum(self.mismatches.values())


def feature_parity(lake: Lake, contracts: Contracts, features: FeatureSet, first: date, last: date) -> Parity:
    """Compare every decision dated `first`..`last` (event dates) with the feature table."""
    contract, days = contracts.transactions, pl.col("event_date").is_between(first, last)
    with_features = (
        lake.scan("decisions")
        .filter(days & (pl.col("vector").list.len() > 0))
        .select(
            pl.col(contracts.decisions.event_id).alias(contract.event_id),
            pl.col(contracts.decisions.event_time).alias(contract.event_time),
            "known_at",
            "vector",
            (pl.col("feature_set_hash") == features.hash).alias("ours"),
        )
        .collect()
    )
    served = with_features.filter("ours").drop("ours")
    others = len(with_features) - len(served)
    table = (
        lake.scan(FEATURES)
        .filter(days & (pl.col("feature_set_hash") == features.hash))
        .select(contract.event_id, "known_at", *features.names)
    )
    both = served.lazy().join(table, on=[contract.event_id, "known_at"]).sort(contract.event_time).collect()
    if both.is_empty():
        return Parity(len(served), 0, {}, None, others)
    online = np.array(both["vector"].to_list(), dtype=np.float32)
    offline = both.select(features.names).to_numpy().astype(np.float32)
    differs = ~((online == offline) | (np.isnan(online) & np.isnan(offline)))
    counts = {name: int(n) for name, n in zip(features.names, differs.sum(axis=0), strict=True) if n}
    return Parity(
        len(served),
        len(both),
        counts,
        _first(contract, features, both, online=online, offline=offline, differs=differs),
        others,
    )


def _first(
    contract: Contract,
    features: FeatureSet,
    both: pl.DataFrame,
    *,
    online: np.ndarray,
    offline: np.ndarray,
    differs: np.ndarray,
) -> dict[str, object] | None:
    rows = np.flatnonzero(differs.any(axis=1))
    if not len(rows):
        return None
    row = int(rows[0])
    column = int(np.flatnonzero(differs[row])[0])
    return {
        "event_id": both[contract.event_id][row],
        "feature": features.names[column],
        "served": float(online[row, column]),
        "recomputed": float(offline[row, column]),
    }

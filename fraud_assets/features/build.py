"""Compute the features of a range of event dates and replace those partitions.

A value depends only on events that arrived up to its own, so a range can be computed again at any time with the same
result; partitions outside the range are never touched.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from fraud_assets.lake import Lake, read_history, read_transactions
from fraud_assets.online_state.epochs import epoch_registry
from fraud_core.contracts import Contract, Contracts
from fraud_core.errors import FeatureError
from fraud_core.features import FeatureSet, compute_offline

FEATURES = "features"
_MARGIN = timedelta(hours=1)
"""More than an event's own time may lie ahead of its arrival, so that no label effect in force is left out."""
_BUILT: dict[str, pl.DataType] = {
    "event_date": pl.Date(),
    "known_at": pl.Datetime("us", "UTC"),
    "feature_set_hash": pl.String(),
}


@dataclass(frozen=True)
class FeatureBuild:
    """What one build wrote: rows per event date, and how many events were folded to reach them."""

    rows: dict[date, int]
    folded: int
    read_from: datetime


def feature_table_schema(contract: Contract, features: FeatureSet) -> dict[str, pl.DataType]:
    """Columns of the table: identity, time, entities and amount as they came, then one Float32 per feature."""
    schema = contract.polars_schema()
    carried = {name: schema[name] for name in carried_columns(contract)}
    taken = sorted({*carried, *_BUILT} & set(features.names))
    if taken:
        raise FeatureError(
            f"{contract.path}: the feature table holds {', '.join(taken)} as it came, so no feature can have that name. "
            "Rename the feature."
        )
    return carried | _BUILT | {name: pl.Float32() for name in features.names}


def carried_columns(contract: Contract) -> list[str]:
    """Fields that the feature table keeps beside the features."""
    amount = [contract.amount] if contract.amount else []
    return list(dict.fromkeys([contract.event_id, contract.event_time, *contract.entities.values(), *amount]))


def _not_later(lake: Lake, contract: Contract, first: date, last: date) -> pl.Expr | None:
    """Events that may precede one of the range's in an entity's order; None when the range is empty.

    Those with a seq all may, for an order by seq need not be that of their arrival.
    """
    known = read_transactions(lake, contract, date_from=first, date_to=last).select(pl.col("known_at").max())
    newest = known.collect().item()
    if newest is None:
        return None
    return (pl.col("known_at") <= newest + _MARGIN).fill_null(True) | pl.col("_epoch").is_not_null()


def build_features(
    lake: Lake, contracts: Contracts, features: FeatureSet, first: date, last: date
) -> FeatureBuild:
    """Replace the partitions `first`..`last` (event dates, inclusive) of the feature table.

    Everything known since `first` minus the feature set's horizon is folded, so that windows are full at `first`, up to
    what was known when the range's last event was: later events change no value of the range.
    """
    contract = contracts.transactions
    read_from = datetime.combine(first, time(), UTC) - features.horizon
    events, labels = read_history(lake, contracts, read_from, _not_later(lake, contract, first, last))
    values = compute_offline(features, events, labels, epoch_registry(lake))
    schema = feature_table_schema(contract, features)
    table = (
        pl.concat(
            [
                events.select(*carried_columns(contract), "event_date", "known_at"),
                values.select(features.names),
            ],
            how="horizontal",
        )
        .with_columns(pl.lit(features.hash).alias("feature_set_hash"))
        .filter(pl.col("event_date").is_between(first, last))
        .select(*schema)
    )
    lake.create(FEATURES, schema, partition_by=["event_date"])
    lake.replace(FEATURES, table, f"event_date >= '{first}' AND event_date <= '{last}'")
    counts = table.group_by("event_date").len().sort("event_date")
    return FeatureBuild(dict(counts.iter_rows()), folded=len(events), read_from=read_from)

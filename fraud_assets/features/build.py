"""Compute the features of a range of event dates and replace those partitions.

A value depends only on events that arrived up to its own, so a range can be computed again at any time with the same
result; partitions outside the range are never touched.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from fraud_assets.lake import Lake, read_history, read_transactions
from fraud_assets.lake.lake import schema_of
from fraud_assets.online_state.epochs import epoch_registry
from fraud_core.contracts import Contract, Contracts
from fraud_core.errors import CommitRefused, FeatureError
from fraud_core.features import Epochs, FeatureSet, compute_offline, out_of_turn

_LOG = logging.getLogger(__name__)

FEATURES = "features"
_MARGIN = timedelta(hours=1)
"""On top of the contract's tolerance for times ahead of an event's arrival: nothing rests on the last minute."""
_ATTEMPTS = 3
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


def build_features(
    lake: Lake, contracts: Contracts, features: FeatureSet, first: date, last: date
) -> FeatureBuild:
    """Replace the partitions `first`..`last` (event dates, inclusive) of the feature table.

    Everything known since `first` minus the feature set's horizon is folded, so that windows are full at `first`, up to
    what was known when the range's last event was: later events change no value of the range. Values that another build
    wrote meanwhile may rest on more than this one had read, so they are never overwritten: this one is done again, and
    raises CommitRefused when that keeps happening.
    """
    schema = feature_table_schema(contracts.transactions, features)
    for attempt in range(1, _ATTEMPTS + 1):
        # Before anything is read. A feature that is no longer declared keeps its column, for the rows that have it.
        table = lake.create(FEATURES, schema, partition_by=["event_date"], keep_columns=True)
        build, rows = _computed(lake, contracts, features, first, last)
        try:
            lake.replace(
                FEATURES,
                rows.select(*schema, *_undeclared(schema_of(table), schema)),
                f"event_date >= '{first}' AND event_date <= '{last}'",
                table=table,
            )
        except CommitRefused as error:
            _LOG.warning(
                "features of %s to %s changed while computed, attempt %d: %s", first, last, attempt, error
            )
        else:
            return build
    raise CommitRefused(
        f"The features of {first} to {last} were computed {_ATTEMPTS} times, and each time another writer changed these "
        "partitions meanwhile. Nothing was overwritten; compute them again when no other build of these dates runs."
    )


def _undeclared(held: pl.Schema, schema: dict[str, pl.DataType]) -> list[pl.Expr]:
    """Columns of features that are gone from the declaration, without a value."""
    return [pl.lit(None, dtype).alias(name) for name, dtype in held.items() if name not in schema]


def _computed(
    lake: Lake, contracts: Contracts, features: FeatureSet, first: date, last: date
) -> tuple[FeatureBuild, pl.DataFrame]:
    """The rows of the range, and what was read for them."""
    contract = contracts.transactions
    ahead = timedelta(milliseconds=contract.future_tolerance_ms) + _MARGIN
    read_from = datetime.combine(first, time(), UTC) - features.horizon - ahead
    epochs = epoch_registry(lake)
    within = _may_precede(read_transactions(lake, contract, date_from=first, date_to=last), epochs, ahead)
    events, labels = read_history(lake, contracts, read_from, within)
    values = compute_offline(features, events, labels, epochs)
    rows = (
        pl.concat(
            [
                events.select(*carried_columns(contract), "event_date", "known_at"),
                values.select(features.names),
            ],
            how="horizontal",
        )
        .with_columns(pl.lit(features.hash).alias("feature_set_hash"))
        .filter(pl.col("event_date").is_between(first, last))
    )
    counts = rows.group_by("event_date").len().sort("event_date")
    return FeatureBuild(dict(counts.iter_rows()), folded=len(events), read_from=read_from), rows


def _may_precede(of_range: pl.LazyFrame, epochs: Epochs, ahead: timedelta) -> pl.Expr | None:
    """Events that may precede one of the range's in an entity's order; None when the range is empty."""
    newest = (
        of_range.group_by("_stream", "_shard", "_incarnation")
        .agg(pl.col("known_at", "_offset", "_epoch").max())
        .collect()
    )
    known = newest.select(pl.col("known_at").max()).item()
    if known is None:
        return None
    return (pl.col("known_at") <= known + ahead).fill_null(True) | out_of_turn(newest, epochs)

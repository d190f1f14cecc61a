"""When a label takes effect, and for whom.

A label known at k takes effect at the first full hour ≥ k + 10 minutes, for every entity of its transaction, once
that entity's clock has reached that hour; a label that came before its transaction is known with the transaction. A correction is a further, opposite effect of the same event: never an edit.
Of labels of one payment the later one holds: by the time known, and where that is equal by the place on the log (`told_order`).
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import polars as pl

from fraud_core.features.inputs import hash_text

if TYPE_CHECKING:
    from fraud_core.features.feature_set import FeatureSet

HOUR_MS = 3_600_000
DELAY_MS = 600_000

EFFECTS_SCHEMA = {
    "entity": pl.String,
    "entity_id": pl.String,
    "effect_ms": pl.Int64,
    "event_ms": pl.Int64,
    "sign": pl.Int8,
    "event_hash": pl.Int64,
    "rank": pl.Int16,
}
"""`sign` is +1 (now fraud) or -1 (no longer); `rank` counts an event's effects from 0, `event_hash` tells events
with the same time apart. Together they identify an effect, so that applying one twice changes nothing."""

MAX_RANK = 254

TOLD_ORDER = ("known_at", "_shard", "_incarnation", "_offset", "_index")
"""By which columns the labels of a payment stand in order, in features and in training alike: the last one holds. Reports of one time
are common where a replay or a block brings many; the order in which files are read must not decide between them."""


def told_order(columns: Iterable[str]) -> list[str]:
    """The columns of TOLD_ORDER that a frame has."""
    return [name for name in TOLD_ORDER if name in {*columns}]


def label_effects(
    features: "FeatureSet",
    events: pl.DataFrame,
    labels: pl.DataFrame,
    entities: Collection[str] | None = None,
) -> pl.DataFrame:
    """Effects of `labels` (event id, is_fraud, known_at, their place on the log where known) on the entities of `events` (lake
    columns), joined by event id.

    `entities`: the kinds that are asked for, else all. Of an event that stands in `events` more than once, the first one known counts.

    Give all labels of the events concerned, not only new ones: an effect is a change against the label known before.
    """
    contract = features.contract
    wanted = [
        name
        for name in (features.entities if entities is None else entities)
        if features.plans[name].has_labels
    ]
    event_id = contract.event_id
    told = told_order(labels.columns)
    changes = (
        labels.lazy()
        .select(
            pl.col("event_id" if "event_id" in labels.columns else event_id).cast(pl.String).alias("_id"),
            pl.col("is_fraud").cast(pl.Boolean).alias("_fraud"),
            pl.col("known_at").dt.epoch("us").floordiv(1000).alias("_known"),
            *told,
        )
        .drop_nulls(["_id", "_fraud", "_known"])
        .sort("_id", *told, "_fraud", maintain_order=True)
        .filter(pl.col("_fraud") != pl.col("_fraud").shift(1, fill_value=False).over("_id"))
        # the first row of an event compares with "genuine", the label of silence
        .with_columns(pl.int_range(pl.len()).over("_id").alias("_rank"))
        .filter(pl.col("_rank") <= MAX_RANK)
    )
    fields = [contract.entities[name] for name in wanted]
    known_first = told_order(events.columns)
    arrival = pl.lit(0, pl.Int64)
    if "known_at" in events.columns:
        arrival = pl.col("known_at").dt.epoch("us").floordiv(1000).fill_null(0)
    dated = events.lazy().select(
        pl.col(event_id).cast(pl.String).alias("_id"),
        pl.col(contract.event_time).dt.epoch("us").floordiv(1000).clip(0).alias("_event"),
        arrival.alias("_arrival"),
        *[pl.col(name).cast(pl.String) for name in dict.fromkeys(fields)],
        *known_first,
    )
    changed = changes.drop(told).collect().lazy()
    few = dated.join(changed.select("_id"), on="_id", how="semi", maintain_order="left")
    if known_first:
        few = few.sort(known_first, maintain_order=True)
    few = few.unique("_id", keep="first", maintain_order=True).drop(known_first)
    joined = changed.join(few, on="_id", how="inner").collect()
    hashes = pl.Series("_hash", [hash_text(value) for value in joined["_id"]], dtype=pl.Int64)
    joined = joined.with_columns(hashes)
    frames = [
        joined.filter(pl.col(contract.entities[name]).is_not_null()).select(
            pl.lit(name).alias("entity"),
            pl.col(contract.entities[name]).alias("entity_id"),
            (
                ((pl.max_horizontal("_known", "_arrival") + (DELAY_MS + HOUR_MS - 1)) // HOUR_MS) * HOUR_MS
            ).alias("effect_ms"),
            pl.col("_event").alias("event_ms"),
            pl.when(pl.col("_rank") % 2 == 0).then(1).otherwise(-1).alias("sign"),
            pl.col("_hash").alias("event_hash"),
            pl.col("_rank").alias("rank"),
        )
        for name in wanted
    ]
    if not frames:
        return pl.DataFrame(schema=EFFECTS_SCHEMA)
    return (
        pl.concat(frames)
        .cast(dict(EFFECTS_SCHEMA))  # type: ignore[arg-type]
        .sort("entity", "entity_id", "effect_ms", "event_ms", "event_hash", "rank")
    )

"""Reading `labels` as features and training see them, and the payments that they are about."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from fraud_assets.lake.lake import Lake
from fraud_assets.lake.transactions import read_transactions
from fraud_core.contracts import Contracts
from fraud_core.features.labels import TOLD_ORDER

LABELS = "labels"
IS_FRAUD = "is_fraud"


def read_labels(lake: Lake, contracts: Contracts, *more: pl.Expr) -> pl.LazyFrame:
    """One row per label: the payment's id (named as in transactions), `is_fraud`, `known_at`, its place on the log, `event_date`, and
    `more` of its row.

    A label is known when it was reported and had arrived, whichever came later. Of several about one payment the last one known holds, and
    of those of one time the last one on the log: see `fraud_core.features.told_order`.
    """
    contract = contracts.labels
    reported = [pl.col(contract.reported_at)] if contract.reported_at else []
    return lake.scan(LABELS).select(
        pl.col(contract.event_id).alias(contracts.transactions.event_id),
        pl.col(contract.label or IS_FRAUD).alias(IS_FRAUD),
        pl.max_horizontal("known_at", *reported).alias("known_at"),
        *(name for name in TOLD_ORDER if name != "known_at"),
        "event_date",
        *more,
    )


def read_history(
    lake: Lake,
    contracts: Contracts,
    known_from: datetime,
    within: pl.Expr | None = None,
    columns: Sequence[str] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What a fold needs: payments known since `known_from`, and every label of payments labelled since then.

    Payments that are older but were labelled since are among the payments: their labels still count for their entities.
    `within` narrows the payments further; `columns` names what is wanted of them, else all.
    """
    event_id = contracts.transactions.event_id
    every = read_labels(lake, contracts)
    labelled = (
        every.filter(pl.col("known_at") >= known_from).select(event_id, "event_date").unique().collect()
    )
    ids = labelled.lazy().select(event_id).unique()
    first_day: date | None = labelled.select(pl.col("event_date").min()).item()
    payments = read_transactions(lake, contracts.transactions)
    recent = payments.filter(pl.col("known_at") >= known_from)
    older = payments.filter(
        pl.col("known_at") < known_from,
        pl.lit(False) if first_day is None else pl.col("event_date") >= first_day,
    ).join(ids, on=event_id, how="semi")
    found = pl.concat([older, recent])
    if within is not None:
        found = found.filter(within)
    return (
        (found if columns is None else found.select(columns)).collect(),
        every.join(ids, on=event_id, how="semi").collect(),
    )

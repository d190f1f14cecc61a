"""Reading `transactions` as features and training see them: each payment once."""

from datetime import date, datetime

import polars as pl

from fraud_assets.lake.lake import Lake
from fraud_assets.lake.schemas import DECISIONS, TRANSACTIONS
from fraud_core.contracts import Contract


def read_transactions(
    lake: Lake,
    contract: Contract,
    known_from: datetime | None = None,
    date_from: date | None = None,
    date_to: date | None = None,
) -> pl.LazyFrame:
    """Transactions with event dates in [date_from, date_to] that were known at or after `known_from`.

    A payment that was scored over HTTP *and* sent by its producer stands in the table twice, once per stream: it is
    recognised by its id and the decision's copy wins (it knows the entities' seq), so that nothing depends on which
    stream was read first. Raises LakeError when the table does not exist.
    """
    rows = lake.scan(TRANSACTIONS)
    scored = rows.filter(pl.col("_stream") == DECISIONS)
    sent = rows.filter(pl.col("_stream") != DECISIONS).join(
        scored.select(contract.event_id), on=contract.event_id, how="anti"
    )
    # The choice between the copies comes first: a copy that lost must not return because it is dated or known otherwise.
    once = pl.concat([sent, scored])
    if date_from is not None:
        once = once.filter(pl.col("event_date") >= date_from)
    if date_to is not None:
        once = once.filter(pl.col("event_date") <= date_to)
    return once if known_from is None else once.filter(pl.col("known_at") >= known_from)

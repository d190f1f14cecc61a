"""Tell the online state of labels before they take effect.

A label takes effect at the first full hour at least ten minutes after it became known; it has to be pushed before that
hour. Pushing one twice changes nothing, so each push goes back far enough to repeat the last ones.
"""

from datetime import UTC, date, datetime, timedelta

import polars as pl
from redis import Redis

from fraud_assets.lake import Lake, read_labels, read_transactions
from fraud_core.contracts import Contracts
from fraud_core.features import FeatureSet, LabelsApplied, OnlineState, label_effects
from fraud_core.settings import Settings


def push_label_effects(
    settings: Settings, lake: Lake, contracts: Contracts, features: FeatureSet, since: timedelta
) -> LabelsApplied:
    """Apply the effects of all labels that became known within `since` of now."""
    event_id = contracts.transactions.event_id
    labels = read_labels(lake, contracts)
    new = labels.filter(pl.col("known_at") >= datetime.now(UTC) - since).select(event_id).unique()
    # All labels of the events concerned: an effect is a change against the label known before.
    concerned = labels.join(new, on=event_id, how="semi").collect()
    if concerned.is_empty():
        return LabelsApplied(0, 0)
    first: date = concerned["event_date"].to_frame().min().item()
    events = (
        read_transactions(lake, contracts.transactions, date_from=first)
        .join(new, on=event_id, how="semi")
        .collect()
    )
    client = Redis.from_url(settings.redis_address)
    try:
        state = OnlineState(client, features, settings.namespace)
        state.load()
        return state.apply_label_effects(label_effects(features, events, concerned))
    finally:
        client.close()

"""Tell the online state of labels before they take effect.

A label takes effect at the first full hour at least ten minutes after it became known; it has to be pushed before that
hour. What was pushed is remembered per epoch as offsets of the tables, not as a time: a label may reach the lake long
after it became known, and a payment after its label. Pushing an effect twice changes nothing.
"""

from collections.abc import Mapping
from typing import Any, cast

import polars as pl

from fraud_assets.lake import Lake, read_labels, read_transactions
from fraud_core.contracts import Contracts
from fraud_core.features import (
    FeatureSet,
    LabelsApplied,
    OnlineState,
    label_effects,
    state_client,
    up_to,
)
from fraud_core.log import Shard
from fraud_core.settings import Settings

Ends = dict[Shard, int]
"""Shard, of this life of the log or a former one, to the offset of the last entry that the tables hold of it."""


def push_label_effects(
    settings: Settings, lake: Lake, contracts: Contracts, features: FeatureSet
) -> LabelsApplied:
    """Apply the effects of all labels, and of the labels of all payments, that came since the last push to this epoch.

    Raises StateError when there is no online state or Redis cannot be reached; then the next push does it all.
    """
    with state_client(settings, "The online state could not be told of labels") as client:
        state = OnlineState(client, features, settings.namespace)
        state.load()
        while True:
            epoch = state.epoch()
            before = pushed_ends(client, settings.namespace, epoch)
            reached = held_ends(lake, "labels") | held_ends(lake, "transactions")
            applied = _push(state, lake, contracts, before)
            state.load()
            if state.epoch() == epoch:
                remember_pushed(client, settings.namespace, epoch, reached)
                return applied
            # A new epoch took over meanwhile, and knows its labels up to other offsets: look from there.


def _push(state: OnlineState, lake: Lake, contracts: Contracts, before: Ends) -> LabelsApplied:
    event_id, since = contracts.transactions.event_id, ~up_to(before)
    labels = read_labels(lake, contracts)
    reported = lake.scan("labels").filter(since).select(pl.col(contracts.labels.event_id).alias(event_id))
    arrived = lake.scan("transactions").filter(since).select(event_id).join(labels, on=event_id, how="semi")
    concerned = pl.concat([reported, arrived]).unique().collect().lazy()
    # All labels of the payments concerned: an effect is a change against the label known before.
    history = labels.join(concerned, on=event_id, how="semi").collect()
    if history.is_empty():
        return LabelsApplied(0, 0)
    payments = read_transactions(lake, contracts.transactions).join(concerned, on=event_id, how="semi")
    return state.apply_label_effects(label_effects(state.features, payments.collect(), history))


def held_ends(lake: Lake, table: str) -> Ends:
    """Up to which offset of each shard a table holds rows."""
    if not lake.exists(table):
        return {}
    return ends_in(lake.scan(table))


def ends_in(rows: pl.LazyFrame) -> Ends:
    """The last offset of each shard among these rows of the lake."""
    held = rows.group_by("_stream", "_shard", "_incarnation").agg(pl.col("_offset").max())
    return {
        Shard(stream, number, incarnation): offset
        for stream, number, incarnation, offset in held.collect(engine="streaming").iter_rows()
    }


def _key(namespace: str, epoch: int) -> str:
    return f"{namespace}:{epoch}:labels_pushed"


def pushed_ends(client: Any, namespace: str, epoch: int) -> Ends:
    """Up to where an epoch knows the labels of everything."""
    found = cast("dict[bytes, bytes]", client.hgetall(_key(namespace, epoch)))
    ends: Ends = {}
    for name, offset in found.items():
        ends[Shard.of(name.decode())] = int(offset)
    return ends


def remember_pushed(client: Any, namespace: str, epoch: int, ends: Ends) -> None:
    """Note that an epoch knows the labels of everything up to these offsets."""
    if ends:
        places: Mapping[Any, Any] = {shard.app_id: end for shard, end in ends.items()}
        client.hset(_key(namespace, epoch), mapping=places)

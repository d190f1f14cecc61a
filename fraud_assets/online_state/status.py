"""What there is to know about the online state: epoch, size, how far behind, past handovers."""

import json
from typing import Any

from fraud_assets.lake import Lake
from fraud_assets.online_state.condition import lost_state
from fraud_assets.online_state.epochs import past_rebuilds
from fraud_assets.online_state.labels import held_ends, pushed_ends
from fraud_assets.online_state.plan import PlanStore
from fraud_core.errors import StateError
from fraud_core.features import FeatureSet, OnlineState, state_client
from fraud_core.features.handover import lease_key
from fraud_core.features.server import read_facts
from fraud_core.log import SCORER, Log
from fraud_core.settings import Settings

_SCANNED = 1000
_REBUILDS = 10


def state_status(settings: Settings, lake: Lake, log: Log, features: FeatureSet) -> dict[str, Any]:
    """As plain values; `problem` is None when the state is there and belongs to this declaration.

    Raises StateError when Redis cannot be reached.
    """
    with state_client(settings) as client:
        return _status(client, settings, lake, log, features)


def _status(client: Any, settings: Settings, lake: Lake, log: Log, features: FeatureSet) -> dict[str, Any]:
    state = OnlineState(client, features, settings.namespace)
    facts, problem = read_facts(client), None
    try:
        state.load()
        problem = facts.problem()
    except StateError as error:
        problem = lost_state(settings, lake, features) or str(error)
    # Also of a state that this declaration cannot use: whoever asks wants to know what is there.
    epoch = int(client.get(state.calls.epoch_key) or 0)
    registered = json.loads(client.hget(state.calls.epochs_key, str(epoch)) or "{}")
    return {
        "epoch": epoch,
        "problem": problem,
        "feature_set_hash": features.hash,
        "state_hash": features.state_hash,
        "built_at_ms": registered.get("created_ms"),
        "events_at_build": registered.get("events"),
        "entities": registered.get("entities", {}),
        "used_bytes": facts.used_bytes,
        "keys": _keys(client),
        "maxmemory_policy": facts.policy,
        "evicted_keys": facts.evicted,
        "durability": facts.durability(),
        "behind": _behind(client, settings, lake, log, epoch),
        "under_way": PlanStore(client, state.calls.epoch_key).look(),
        "lease_ms": max(0, int(client.pttl(lease_key(state.calls.epoch_key)))),
        "rebuilds": past_rebuilds(lake, _REBUILDS),
    }


def _keys(client: Any) -> int:
    found = client.dbsize()
    return sum(found.values()) if isinstance(found, dict) else int(found)


def _behind(client: Any, settings: Settings, lake: Lake, log: Log, epoch: int) -> dict[str, int]:
    """What the state does not know yet: entries of the log that the stream scorer may have to read, shards whose labels were
    not pushed."""
    entries = 0
    for shard in log.existing_shards("transactions"):
        reached, end = log.readers(shard).get(SCORER), log.end(shard)
        if reached is not None and end > reached:
            entries = max(entries, log.depth(shard))
    pushed = pushed_ends(client, settings.namespace, epoch)
    held = held_ends(lake, "labels")
    return {
        "transactions_entries": entries,
        "label_shards": sum(end > pushed.get(shard, 0) for shard, end in held.items()),
    }

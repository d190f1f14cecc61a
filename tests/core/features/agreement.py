"""Bitwise comparison of two executions, naming the first difference; and the online face driven through a whole history."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import redis

from fraud_core.features import Applied, FeatureSet, OnlineState, label_effects
from fraud_core.features.calls import entity_key
from fraud_core.features.layout import LABELS_VALID_AT, label_columns, life_ms
from fraud_core.features.list_events import ListEvents
from fraud_core.features.lists import LIST_BYTES, events_begin, with_effects
from fraud_core.features.plan import EntityPlan
from fraud_core.features.rings import SKETCH_BYTES, STAMPS, ring_offsets, rings, sketches
from tests.core.features.world import HOUR, World


def fresh(client: redis.Redis, features: FeatureSet, namespace: str = "test") -> OnlineState:
    """An online state that holds nothing."""
    client.flushall()
    state = OnlineState(client, features, namespace)
    state.begin()
    return state


def assert_same_bits(features: FeatureSet, ids: list[str], online: np.ndarray, offline: pl.DataFrame) -> None:
    """Every float32 equal to the bit (all NaN are one)."""
    event_id = features.contract.event_id
    order = pl.DataFrame({event_id: ids}).join(offline, on=event_id, how="left", maintain_order="left")
    wanted = order.drop(event_id).to_numpy()
    assert wanted.dtype == online.dtype == np.float32
    same = (online.view(np.uint32) == wanted.view(np.uint32)) | (np.isnan(online) & np.isnan(wanted))
    if not same.all():
        row, column = np.argwhere(~same)[0]
        raise AssertionError(
            f"{features.names[column]} of {ids[row]}: online {online[row, column]!r}, offline {wanted[row, column]!r}; "
            f"{(~same).sum()} of {same.size} values differ"
        )


def apply_all(state: OnlineState, world: World, labels_first: bool = True) -> list[Applied]:
    """Apply a whole history; label effects at the start, or each just before any clock can reach it."""
    effects = label_effects(state.features, world.frame, world.labels)
    if labels_first:
        state.apply_label_effects(effects)
        event_id = state.features.contract.event_id
        return state.apply_many([(event, event[event_id]) for event in world.events])
    applied, reached = [], -1
    times = world.frame["at"].dt.epoch("us").to_numpy() // 1000
    for event, time in zip(world.events, times, strict=True):
        if time > reached:
            due = effects.filter((pl.col("effect_ms") > reached) & (pl.col("effect_ms") <= int(time)))
            assert state.apply_label_effects(due).late == 0
            reached = int(time)
        applied.append(state.apply(event, event["id"]))
    return applied


def apply_all_with_expiry(client: redis.Redis, state: OnlineState, world: World) -> list[Applied]:
    """Apply a whole history as it would have been in its own time: states and labels untouched for their life are gone.

    Label effects are pushed, as in life, when they become known or the entity's event does, whichever is later.
    """
    effects = label_effects(state.features, world.frame, world.labels).sort("effect_ms")
    pushed_ms = (effects["effect_ms"] - HOUR).to_list()
    touched: dict[str, tuple[int, int]] = {}
    applied, next_effect = [], 0
    for event, now in zip(world.events, world.frame["known_at"].dt.epoch("ms").to_list(), strict=True):
        while next_effect < len(pushed_ms) and pushed_ms[next_effect] <= now:
            one = effects[next_effect]
            entity, id = one["entity"][0], one["entity_id"][0]
            key = entity_key(state.namespace, state.epoch(), entity, id)
            _expire(client, touched, pushed_ms[next_effect])
            state.apply_label_effects(one)
            key += ":l" if client.exists(f"{key}:l") else ""  # rings keep their effects apart
            touched[key] = pushed_ms[next_effect], life_ms(state.features.plans[entity].rule)
            next_effect += 1
        _expire(client, touched, now)
        applied.append(state.apply(event, event["id"]))
        for entity in applied[-1].seqs:
            key = entity_key(state.namespace, state.epoch(), entity, event[entity])
            touched[key] = now, life_ms(state.features.plans[entity].rule)
    return applied


def clock_ms(features: FeatureSet, entity: str, state: bytes) -> int:
    """The clock of an entity, by its state."""
    if is_list(state):
        return ListEvents(features.plans[entity]).newest(state)[1] or 0
    return int.from_bytes(state[6:12], "little")


def is_list(state: bytes) -> bool:
    return int.from_bytes(state[:6], "little", signed=True) >= 0


def settled(plan: EntityPlan, state: bytes) -> bytes:
    """A state without what the next event works out anew: what is known of labels, cells that left their window."""
    if is_list(state):
        return with_effects(state[:LIST_BYTES] + state[events_begin(state) :], b"")
    found = bytearray(state)
    clock = int.from_bytes(state[6:12], "little")
    if plan.has_labels:
        end = LABELS_VALID_AT + 6 * (1 + len(label_columns(plan)))
        found[LABELS_VALID_AT:end] = bytes(end - LABELS_VALID_AT)
    offsets, cells = ring_offsets(plan)
    for number, sketch in enumerate(sketches(plan)):
        ring = rings(plan)[sketch.ring]
        begin = cells + number * SKETCH_BYTES
        for place in range(begin, min(begin + SKETCH_BYTES, len(found))):
            if (clock // ring.width_ms - (found[place] - 1)) % STAMPS >= ring.buckets:
                found[place] = 0
    header = min([*offsets, cells])
    return bytes(found[:header]) + bytes(found[header:]).rstrip(b"\0")


def _expire(client: redis.Redis, touched: dict[str, tuple[int, int]], now: int) -> None:
    for key in [key for key, (at, life) in touched.items() if at + life < now]:
        assert client.delete(key)
        del touched[key]


def with_seqs(frame: pl.DataFrame, applied: Mapping[str, Applied], entities: tuple[str, ...]) -> pl.DataFrame:
    """The frame as the lake holds it once decisions were ingested."""
    columns: dict[str, list[Any]] = {"_epoch": [], **{f"_seq_{entity}": [] for entity in entities}}
    for event_id in frame["id"]:
        found = applied.get(event_id)
        columns["_epoch"].append(found.epoch if found else None)
        for entity in entities:
            columns[f"_seq_{entity}"].append(found.seqs.get(entity) if found else None)
    return frame.with_columns(**{name: pl.Series(values, dtype=pl.Int64) for name, values in columns.items()})

"""Online state made anew from history: the same fold, its final state written in bulk to a new epoch, then flipped.

The state written is what applying the events one by one would have left, for as long as it would have been kept; so
the old epoch can be thrown away.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import polars as pl
from redis import Redis
from redis.exceptions import RedisError

from fraud_core.errors import StateError
from fraud_core.features.calls import entity_key, pack_effects
from fraud_core.features.inputs import Ints
from fraud_core.features.layout import Part, life_ms, record_bytes, record_parts
from fraud_core.features.offline import History, Sorted, filter_bits, known_times, read_history
from fraud_core.features.online import OnlineState, epoch_record
from fraud_core.features.order import Epochs
from fraud_core.features.plan import LABEL_CAP, NULL, EntityPlan
from fraud_core.features.wire import exchange
from fraud_core.log import Shard

if TYPE_CHECKING:
    from fraud_core.features.feature_set import FeatureSet

_KEYS_PER_TRIP = 1000


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild wrote."""

    epoch: int
    known_ms: int
    """Known time of the newest event read: the cut of this epoch, where the caller has no offsets (order.Cut)."""
    events: int
    entities: dict[str, int]
    bytes: int


class Item(NamedTuple):
    """A key to write."""

    key: str
    value: bytes
    life_s: int
    """What is left of its time to live."""
    is_state: bool
    """Else label effects."""


def rebuild(  # noqa: PLR0917
    state: OnlineState,
    features: "FeatureSet",
    events: pl.DataFrame,
    labels: pl.DataFrame | None,
    epoch: int | None = None,
    epochs: Epochs | None = None,
    *,
    ends: Mapping[Shard, int] | None = None,
) -> Rebuilt:
    """Write the final state of `events` and `labels` (see compute_offline) to a new epoch, then make it current.

    epochs: the registry of earlier rebuilds, see order.Epochs; this one belongs there too. ends: what `events` was read
    from, see online.epoch_record.
    Nothing reads the new epoch until it is complete. Raises StateError when `epoch` is not newer than the current one
    or Redis cannot be reached; the current epoch then stays as it was.
    """
    client: Redis = state.client
    calls = state.calls
    if features.state_hash != state.features.state_hash:
        raise StateError(
            "Expected a state of the same declaration as the features to rebuild, found another."
        )
    try:
        current = int(cast(bytes, client.get(calls.epoch_key) or b"0"))
        new = epoch if epoch is not None else next_epoch(state)
        if new <= current:
            raise StateError(
                f"Expected an epoch after the current {current}, found {new}. Leave it out to take the next."
            )
        client.function_load(calls.library, replace=True)
        known_ms = int(known_times(events).max(initial=0))
        everything = known_ms  # all rows given are read by this rebuild
        history = read_history(features, events, labels, {**(epochs or {}), new: everything})
        newest_ms = known_ms or int(history.times.max(initial=0))
        written, size = {}, 0
        for name, plan in features.plans.items():
            items = entity_states(history, plan, state.namespace, new, newest_ms)
            written[name], bytes_written = write_states(client, items)
            size += bytes_written
        client.hset(calls.epochs_key, str(new), epoch_record(features, known_ms, events.height, ends))
        client.set(calls.epoch_key, new)
    except RedisError as error:
        raise StateError(
            f"The rebuild stopped, the old state stands: {error}. Check Redis, then run it again."
        ) from error
    state.load()
    return Rebuilt(new, known_ms, events.height, written, size)


def next_epoch(state: OnlineState, known: Iterable[int] = ()) -> int:
    """The number after every epoch that Redis knows and after those in `known`, which survives the loss of Redis."""
    try:
        current = int(cast(bytes, state.client.get(state.calls.epoch_key) or b"0"))
        registered = cast(dict[bytes, bytes], state.client.hgetall(state.calls.epochs_key))
    except RedisError as error:
        raise StateError(f"The epochs cannot be read: {error}. Check Redis, then run it again.") from error
    return max([current, *map(int, registered), *known]) + 1


def _at_once(keys: int) -> None:
    """No pause."""


def write_states(
    client: Any, items: Iterable[Item], pace: Callable[[int], None] = _at_once
) -> tuple[int, int]:
    """Write what `entity_states` made, in bulk; `pace` is called with the number of keys of each trip.

    Returns how many of the keys were states, and the bytes of all values. Raises RedisError.
    """
    states = size = 0
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        states += item.is_state
        size += len(item.value)
        if len(batch) >= _KEYS_PER_TRIP:
            _write(client, batch)
            pace(len(batch))
            batch.clear()
    _write(client, batch)
    pace(len(batch))
    return states, size


def _write(client: Any, batch: list[Item]) -> None:
    if not batch:
        return
    for reply in exchange(client, [("SET", item.key, item.value, "EX", item.life_s) for item in batch]):
        if isinstance(reply, RedisError):
            raise reply


def sweep_epochs(
    client: Any,
    namespace: str,
    *,
    keep: Container[int],
    pace: Callable[[int], None] = _at_once,
    most: int | None = None,
) -> int:
    """Delete the keys of all epochs but those in `keep`; returns how many went, at most about `most`.

    Without this, they expire with their entities' history. Raises RedisError.
    """
    prefix = namespace.encode() + b":"
    escaped = "".join(f"\\{char}" if char in "*?[]\\" else char for char in namespace)
    dropped = 0
    batch: list[bytes] = []
    for key in client.scan_iter(match=f"{escaped}:[0-9]*:*", count=_KEYS_PER_TRIP):
        number, _, _ = key[len(prefix) :].partition(b":")
        if number.isdigit() and int(number) not in keep:
            batch.append(key)
        if len(batch) >= _KEYS_PER_TRIP:
            dropped += _unlink(client, batch)
            pace(len(batch))
            batch.clear()
            if most is not None and dropped >= most:
                return dropped
    return dropped + _unlink(client, batch)


def _unlink(client: Any, keys: list[bytes]) -> int:
    return int(client.unlink(*keys)) if keys else 0


def drop_epoch(state: OnlineState, epoch: int) -> int:
    """Delete the state of an epoch that a rebuild has replaced; returns how many keys went.

    Raises StateError for the current epoch. Without this, the keys expire with their entities' history.
    """
    client = state.client
    try:
        if int(cast(bytes, client.get(state.calls.epoch_key) or b"0")) == epoch:
            raise StateError(f"Expected an epoch that is no longer in use, found the current one, {epoch}.")
        dropped = 0
        batch: list[bytes] = []
        for key in client.scan_iter(match=f"{state.namespace}:{epoch}:{{*", count=_KEYS_PER_TRIP):
            batch.append(key)
            if len(batch) >= _KEYS_PER_TRIP:
                dropped += client.unlink(*batch)
                batch.clear()
        return dropped + (client.unlink(*batch) if batch else 0)
    except RedisError as error:
        raise StateError(
            f"The keys of epoch {epoch} stand: {error}. Check Redis, then run it again."
        ) from error


def entity_states(
    history: History, plan: EntityPlan, namespace: str, epoch: int, newest_ms: int
) -> Iterator[Item]:
    """State and label effects of every entity of one kind that would not have expired by `newest_ms`."""
    ordered = history.sort(plan)
    if not len(ordered.rows):
        return
    records = _records(history, plan, ordered)
    starts, clock = ordered.starts, ordered.clock
    last = starts[1:] - 1
    header = _header_tail(history, plan, ordered.rows[last])
    effects = _effects_by_id(history.effects, plan)
    for e, id in enumerate(ordered.ids):
        begin, end = int(starts[e]), int(starts[e + 1])
        now = int(clock[end - 1])
        life = life_ms(plan.rule)
        life_s = min(life, life - newest_ms + now) // 1000
        if life_s <= 0:
            continue
        first = max(begin, end - plan.rule.cap)
        first += int(np.searchsorted(clock[first:end], now - plan.rule.horizon_ms, side="right"))
        key = entity_key(namespace, epoch, plan.rule.name, id)
        seq = end - begin
        head = seq.to_bytes(6, "little") + now.to_bytes(6, "little") + header[e].tobytes()
        yield Item(key, head + records[first:end].tobytes(), life_s, True)
        if id in effects:
            kept = _live_effects(effects[id], now)
            if kept.height:
                yield Item(f"{key}:l", pack_effects(kept), life_s, False)


def _live_effects(effects: pl.DataFrame, now: int) -> pl.DataFrame:
    """What can still count: the newest LABEL_CAP in force, and those yet to come."""
    ordered = effects.sort("effect_ms", "event_ms", "event_hash", "rank")
    passed = int((ordered["effect_ms"] <= now).sum())
    return ordered.slice(max(0, passed - LABEL_CAP))


def _effects_by_id(effects: pl.DataFrame, plan: EntityPlan) -> dict[str, pl.DataFrame]:
    mine = effects.filter(pl.col("entity") == plan.rule.name)
    return {str(id): part for (id,), part in mine.group_by("entity_id")}


def _records(history: History, plan: EntityPlan, ordered: Sorted) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8[rows, record bytes], in fold order."""
    rows = ordered.rows
    table = np.empty((len(rows), record_bytes(plan)), np.uint8)
    table[:, :6] = _low_bytes(ordered.clock, 6)
    at = 6
    for part in record_parts(plan):
        table[:, at : at + part.bytes] = _low_bytes(_part_values(history, plan, part, rows), part.bytes)
        at += part.bytes
    return table


def _part_values(history: History, plan: EntityPlan, part: Part, rows: Ints) -> Ints:
    if part.name == "bits":
        return filter_bits(history, plan)[rows]
    place = int(part.name[1:])
    if part.name[0] == "x":
        return history.columns[plan.numbers[place]][rows]
    values = history.columns[plan.hashes[place]][rows]
    return np.where(values == NULL, 0, values)


def _header_tail(history: History, plan: EntityPlan, last_rows: Ints) -> np.ndarray[Any, np.dtype[np.uint8]]:
    tail = np.empty((len(last_rows), 6 * len(plan.carried)), np.uint8)
    for place, source in enumerate(plan.carried):
        tail[:, 6 * place : 6 * place + 6] = _low_bytes(history.columns[source][last_rows], 6)
    return tail


def _low_bytes(values: Ints, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.ascontiguousarray(values, "<i8").view(np.uint8).reshape(len(values), 8)[:, :count]

"""Online state made anew from history: the same fold, its final state written in bulk to a new epoch, then flipped.

The state written is what applying the events one by one would have left, for as long as it would have been kept; so
the old epoch can be thrown away.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import polars as pl
from redis import Redis
from redis.exceptions import RedisError

from fraud_core.errors import StateError
from fraud_core.features.final_states import Item, entity_states
from fraud_core.features.offline import known_times, read_history
from fraud_core.features.online import OnlineState, epoch_record
from fraud_core.features.order import Epochs
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
        for key in client.scan_iter(match=f"{state.namespace}:{epoch}:*", count=_KEYS_PER_TRIP):
            batch.append(key)
            if len(batch) >= _KEYS_PER_TRIP:
                dropped += client.unlink(*batch)
                batch.clear()
        return dropped + (client.unlink(*batch) if batch else 0)
    except RedisError as error:
        raise StateError(
            f"The keys of epoch {epoch} stand: {error}. Check Redis, then run it again."
        ) from error

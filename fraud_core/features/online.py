"""The online state: apply an event to all its entities in one round trip, and get its features.

Applying is idempotent by event id for the declaration's `answer_ttl`. The epoch is read in the same round trip; when
a rebuild has flipped it meanwhile, the event is applied again to the new epoch and the old answer forgotten.
"""

import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import polars as pl
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError, ResponseError

from fraud_core.errors import StateError, StateLost
from fraud_core.features.calls import Applied, EntityFeatures, LabelsApplied, StateCalls, unreachable
from fraud_core.features.server import ServerFacts
from fraud_core.features.wire import Command, exchange, exchange_async
from fraud_core.log import Shard

if TYPE_CHECKING:
    from fraud_core.features.feature_set import FeatureSet

_FLIPS = 5
"""Rebuilds that may overtake one apply before something must be wrong."""


def epoch_record(  # noqa: PLR0917
    features: "FeatureSet",
    known_ms: int,
    events: int,
    ends: Mapping[Shard, int] | None = None,
    facts: ServerFacts | None = None,
    entities: Mapping[str, int] | None = None,
    read_from: datetime | None = None,
    labelled: Mapping[Shard, int] | None = None,
) -> str:
    """What the registry of epochs says about one: whose state it is and how far its rebuild had read.

    ends: shard to the offset of the last entry that it folded; whoever reads the log goes on after it. read_from:
    it counted what became known since; that stays counted, however old it is by now. labelled: up to where it knew the labels.
    """
    return json.dumps(
        {
            "state_hash": features.state_hash,
            "feature_set_hash": features.hash,
            "known_ms": known_ms,
            "read_from": read_from.isoformat() if read_from else None,
            "labelled": {shard.app_id: end for shard, end in (labelled or {}).items()},
            "events": events,
            "ends": {shard.app_id: end for shard, end in (ends or {}).items()},
            "created_ms": time.time_ns() // 1_000_000,
            "entities": dict(entities or {}),
            "evictions": dict(facts.evictions) if facts else {},
        }
    )


def _check_client(client: Any) -> None:
    pool = getattr(client, "connection_pool", None)  # a cluster's client has a pool per node
    kwargs = pool.connection_kwargs if pool is not None else getattr(client, "connection_kwargs", {})
    if kwargs.get("decode_responses"):
        raise StateError(
            "The online state needs a client that returns bytes; create it without decode_responses."
        )


def _no_state(namespace: str) -> StateLost:
    return StateLost(
        f"{namespace!r} has no online state: none was built yet, or Redis lost it. Run `spearhead state rebuild`."
    )


def _missing_function(replies: Sequence[Any]) -> bool:
    return any(isinstance(reply, ResponseError) and "unction not found" in str(reply) for reply in replies)


def _sum_labels(replies: Sequence[Any]) -> LabelsApplied:
    return LabelsApplied(sum(reply[0] for reply in replies), sum(reply[1] for reply in replies))


def _all(found: Sequence[Applied | StateError]) -> list[Applied]:
    """The answers of a batch; raises the first error."""
    answers: list[Applied] = []
    for each in found:
        if isinstance(each, StateError):
            raise each
        answers.append(each)
    return answers


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, RedisError):
            raise unreachable(reply) from reply


class _State:
    """What both faces share."""

    def __init__(self, features: "FeatureSet", namespace: str, *, together: bool) -> None:
        self.features = features
        self.namespace = namespace
        self.calls = StateCalls(features, namespace, together=together)
        self._epoch = 0
        self.evictions: Mapping[str, int] = {}
        """Keys that the servers had evicted when the epoch was built, see ServerFacts.evictions."""

    def _batch(
        self, epoch: int, events: Sequence[tuple[Mapping[str, Any], str]]
    ) -> tuple[list[Any], list[Command]]:
        prepared = [self.calls.prepare(epoch, event, event_id) for event, event_id in events]
        commands: list[Command] = [("GET", self.calls.epoch_key)]
        for event in prepared:
            commands += event.commands
        return prepared, commands

    @staticmethod
    def _is_current(reply: Any, epoch: int) -> bool:
        """Whether a call went to the epoch that was current when the server made it.

        `epoch` is the one that the call named, not this object's: another call may have learned of a flip meanwhile.
        """
        if isinstance(reply, RedisError):
            raise unreachable(reply) from reply
        return reply is not None and int(reply) == epoch

    def _adopt(self, epoch: Any, registered: Any) -> None:
        number = int(epoch)
        record = json.loads(registered) if registered else {}
        self._epoch = self.calls.adopt(number, record)
        self.evictions = record.get("evictions", {})

    def _gave_up(self) -> StateError:
        return StateError(
            f"The epoch of {self.namespace!r} changed {_FLIPS} times during one call; try again later."
        )


class OnlineState(_State):
    """The online state over a blocking client."""

    def __init__(self, client: "Redis", features: "FeatureSet", namespace: str) -> None:
        _check_client(client)
        super().__init__(features, namespace, together=isinstance(client, Redis))
        self.client = client

    def load(self) -> None:
        """Load the state functions and take up the current epoch.

        Raises StateError when there is none (a state that was lost must not pass for an empty one), when the state in
        Redis belongs to another declaration, or when Redis cannot be reached.
        """
        try:
            self._load_functions()
        except RedisError as error:
            raise unreachable(error) from error
        self._refresh()

    def begin(self, epoch: int = 1) -> None:
        """Begin with an empty state where there is none yet; a rebuild from an empty history does the same.

        Raises StateError as `load` does.
        """
        try:
            if self.client.get(self.calls.epoch_key) is None:
                self.client.hsetnx(self.calls.epochs_key, str(epoch), epoch_record(self.features, 0, 0))
                self.client.set(self.calls.epoch_key, epoch, nx=True)
        except RedisError as error:
            raise unreachable(error) from error
        self.load()

    def _load_functions(self) -> None:
        self.client.function_load(self.calls.library, replace=True)

    def _refresh(self) -> None:
        try:
            epoch = cast(bytes | None, self.client.get(self.calls.epoch_key))
            if epoch is None:
                raise _no_state(self.namespace)
            registered = self.client.hget(self.calls.epochs_key, str(int(epoch)))
        except RedisError as error:
            raise unreachable(error) from error
        self._adopt(epoch, registered)

    def epoch(self) -> int:
        """The epoch that the last call used."""
        return self._epoch

    def registered(self) -> dict[str, Any]:
        """What the registry says of the current epoch, see epoch_record."""
        found = cast("bytes | None", self.client.hget(self.calls.epochs_key, str(self._epoch)))
        return cast("dict[str, Any]", json.loads(found)) if found else {}

    def apply(self, event: Mapping[str, Any], event_id: str) -> Applied:
        """Apply one event; on repeat, the stored answer. One round trip."""
        return self.apply_many([(event, event_id)])[0]

    def apply_many(self, events: Sequence[tuple[Mapping[str, Any], str]]) -> list[Applied]:
        """Apply several events, in order, in one round trip. Raises the first error of `apply_each`; the others are applied."""
        return _all(self.apply_each(events))

    def apply_each(self, events: Sequence[tuple[Mapping[str, Any], str]]) -> list[Applied | StateError]:
        """The same, with an event's error in the place of its answer, see StateCalls.decode."""
        for _ in range(_FLIPS):
            epoch = self._epoch
            prepared, commands = self._batch(epoch, events)
            replies = self._send(commands)
            if _missing_function(replies):
                self.load()
            elif self._is_current(replies[0], epoch):
                return self.calls.decode(epoch, prepared, replies[1:])
            else:
                self._refresh()
        raise self._gave_up()

    def read(self, entity: str, id: str, as_of_ms: int = 0) -> EntityFeatures:
        """The features of one entity at a moment (0: as of its clock), without changing anything; see EntityFeatures.

        Raises StateError for an entity kind that has no state, with the nearest name.
        """
        for _ in range(_FLIPS):
            epoch = self._epoch
            command = self.calls.read_command(epoch, entity, id, as_of_ms)
            replies = self._send([("GET", self.calls.epoch_key), command])
            if _missing_function(replies):
                self.load()
            elif self._is_current(replies[0], epoch):
                _raise_first(replies)
                return self.calls.decode_read(epoch, entity, id, as_of_ms, replies[1])
            else:
                self._refresh()
        raise self._gave_up()

    def apply_label_effects(self, effects: pl.DataFrame) -> LabelsApplied:
        """Merge label effects (see labels.EFFECTS_SCHEMA) into their entities; applying them again changes nothing."""
        for _ in range(_FLIPS):
            epoch = self._epoch
            commands = self.calls.label_commands(epoch, effects)
            replies = self._send([("GET", self.calls.epoch_key), *commands])
            if _missing_function(replies):
                self.load()
            elif self._is_current(replies[0], epoch):
                _raise_first(replies)
                return _sum_labels(replies[1:])
            else:
                self._refresh()
        raise self._gave_up()

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return exchange(self.client, commands)
        except RedisError as error:
            raise unreachable(error) from error


class AsyncOnlineState(_State):
    """The online state over an asyncio client; the same calls, awaited."""

    def __init__(self, client: "AsyncRedis", features: "FeatureSet", namespace: str) -> None:
        _check_client(client)
        super().__init__(features, namespace, together=isinstance(client, AsyncRedis))
        self.client = client

    async def load(self) -> None:
        """See OnlineState.load."""
        try:
            await cast(Awaitable[Any], self.client.function_load(self.calls.library, replace=True))
        except RedisError as error:
            raise unreachable(error) from error
        await self._refresh()

    async def _refresh(self) -> None:
        try:
            epoch = await self.client.get(self.calls.epoch_key)
            if epoch is None:
                raise _no_state(self.namespace)
            registered = await cast(Awaitable[Any], self.client.hget(self.calls.epochs_key, str(int(epoch))))
        except RedisError as error:
            raise unreachable(error) from error
        self._adopt(epoch, registered)

    def epoch(self) -> int:
        """The epoch that the last call used."""
        return self._epoch

    async def apply(self, event: Mapping[str, Any], event_id: str) -> Applied:
        """See OnlineState.apply."""
        return (await self.apply_many([(event, event_id)]))[0]

    async def apply_many(self, events: Sequence[tuple[Mapping[str, Any], str]]) -> list[Applied]:
        """See OnlineState.apply_many."""
        return _all(await self.apply_each(events))

    async def apply_each(self, events: Sequence[tuple[Mapping[str, Any], str]]) -> list[Applied | StateError]:
        """See OnlineState.apply_each."""
        for _ in range(_FLIPS):
            epoch = self._epoch
            prepared, commands = self._batch(epoch, events)
            replies = await self._send(commands)
            if _missing_function(replies):
                await self.load()
            elif self._is_current(replies[0], epoch):
                return self.calls.decode(epoch, prepared, replies[1:])
            else:
                await self._refresh()
        raise self._gave_up()

    async def read(self, entity: str, id: str, as_of_ms: int = 0) -> EntityFeatures:
        """See OnlineState.read."""
        for _ in range(_FLIPS):
            epoch = self._epoch
            command = self.calls.read_command(epoch, entity, id, as_of_ms)
            replies = await self._send([("GET", self.calls.epoch_key), command])
            if _missing_function(replies):
                await self.load()
            elif self._is_current(replies[0], epoch):
                _raise_first(replies)
                return self.calls.decode_read(epoch, entity, id, as_of_ms, replies[1])
            else:
                await self._refresh()
        raise self._gave_up()

    async def apply_label_effects(self, effects: pl.DataFrame) -> LabelsApplied:
        """See OnlineState.apply_label_effects."""
        for _ in range(_FLIPS):
            epoch = self._epoch
            commands = self.calls.label_commands(epoch, effects)
            replies = await self._send([("GET", self.calls.epoch_key), *commands])
            if _missing_function(replies):
                await self.load()
            elif self._is_current(replies[0], epoch):
                _raise_first(replies)
                return _sum_labels(replies[1:])
            else:
                await self._refresh()
        raise self._gave_up()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await exchange_async(self.client, commands)
        except RedisError as error:
            raise unreachable(error) from error

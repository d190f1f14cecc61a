"""What the online state sends and receives, without a connection: shared by its sync and async faces.

Keys of one entity: `{ns}:{epoch}:{entity:id}` with the last part in braces, so that a cluster keeps them together:
the state itself, `…:a:<event id>` the stored answer of an event, `…:l` its label effects. Where one server holds
everything, all entities of an event take one call, and the answer is stored once: `{ns}:{epoch}:a:<event id>`. A list keeps
its label effects with its events, and stands at `…:q` for repeated calls after it became rings.
"""

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from redis.exceptions import RedisError

from fraud_core.errors import StateError
from fraud_core.features.inputs import matches, reader
from fraud_core.features.kernel import evaluate
from fraud_core.features.layout import LABEL_FORMAT, life_ms
from fraud_core.features.list_events import ListEvents, another_event
from fraud_core.features.lists import record_bytes
from fraud_core.features.lua import (
    function_name,
    labels_function_name,
    library,
    library_name,
)
from fraud_core.features.lua_read import reader_name
from fraud_core.features.plan import NULL, EntityPlan, SlotKind
from fraud_core.features.program import Program
from fraud_core.features.reading import reading_program
from fraud_core.features.source import nearest
from fraud_core.features.wire import Command

if TYPE_CHECKING:
    from fraud_core.features.feature_set import FeatureSet

_LONGEST_ID = 128


@dataclass(frozen=True, eq=False)
class Applied:
    """What one event brought about."""

    epoch: int
    seqs: dict[str, int]
    """Entity → place of this event in the entity's order; entities that the event lacks are missing."""
    vector: np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class EntityFeatures:
    """What a payment of one entity would find at a moment, before it is counted itself."""

    entity: str
    id: str
    seen: bool
    """Whether the state knows the entity; if not, the values are those of an empty past."""
    epoch: int
    seq: int
    """How many payments the state has counted."""
    clock_ms: int | None
    """The entity's clock: the latest event time it has met."""
    as_of_ms: int
    """The moment of the windows' ends: asked for, and never before the clock."""
    values: dict[str, float]
    """The features of this entity alone; NaN where there is nothing to compute from."""
    asking: tuple[str, ...]
    """Features of this entity that ask something of a payment, and so have no value here."""


@dataclass(frozen=True)
class LabelsApplied:
    """What a batch of label effects brought about."""

    added: int
    late: int
    """Effects that came after the entity's clock had passed them: parity exceptions."""


@dataclass(frozen=True)
class Prepared:
    """One event as integers, and the state calls that it needs."""

    values: list[int]
    entities: tuple[str, ...]
    packed: tuple[bytes, ...]
    """Per entity, the event as its state keeps it."""
    commands: tuple[Command, ...]


def entity_key(namespace: str, epoch: int, entity: str, id: str) -> str:
    """Key of one entity's state."""
    return f"{namespace}:{epoch}:{{{entity}:{_short(id)}}}"


def _short(id: str) -> str:
    """An id as it stands in keys: a very long one is replaced by its hash."""
    if len(id) > _LONGEST_ID:
        return hashlib.blake2b(id.encode(), digest_size=20).hexdigest()
    return id


class _EntityCall:
    """Packs an event for one entity's state function, and takes its part of a reply."""

    def __init__(self, features: "FeatureSet", number: int, plan: EntityPlan) -> None:
        places = {source: place for place, source in enumerate(features.program.inputs)}
        self.name = plan.rule.name
        self.number = bytes([number])
        self.field = plan.rule.field
        self.offset = features.program.offsets[plan.rule.name]
        self.width = len(plan.slots)
        self.slots = plan.slots
        self.filters = plan.filters
        self.places = places
        self.events = ListEvents(plan)
        wanted = [0, *[places[source] for source in plan.arguments]]
        pick: Callable[[list[int]], Any] = itemgetter(*wanted)
        self.pick = pick if len(wanted) > 1 else lambda values: (pick(values),)

    def argument(self, values: list[int]) -> bytes:
        bits = 0
        if self.filters:
            by_input = {source: values[place] for source, place in self.places.items()}
            for place, where in enumerate(self.filters):
                bits |= matches(where, by_input) << place
        return self.events.pack(self.pick(values), bits)


class StateCalls:
    """Commands and replies of one feature set in one namespace.

    together: all entities of an event in one call, for clients of one server; else one call for each, for a cluster.
    """

    def __init__(self, features: "FeatureSet", namespace: str, *, together: bool = True) -> None:
        self.features = features
        self.together = together
        self.namespace = namespace
        self.epoch_key = f"{namespace}:epoch"
        self.epochs_key = f"{namespace}:epochs"
        self.library_name = library_name(features.state_hash)
        self.library = library(tuple(features.plans.values()), features.state_hash, features.answer_ttl_s)
        self._readers = [reader(source) for source in features.program.inputs]
        self._reading = reading_program(features.features, features.program.inputs, features.plans)
        self._calls = [
            _EntityCall(features, number, plan) for number, plan in enumerate(features.plans.values())
        ]
        self._by_name = {call.name: call for call in self._calls}
        self._function = function_name(features.state_hash).encode()
        self._labels_function = labels_function_name(features.state_hash).encode()
        for call in self._calls:
            call.events.warm_up()
        self.vectors(np.full((features.program.width, 1), NULL, np.int64))  # compiled before the first event

    def prepare(self, epoch: int, event: Mapping[str, Any], event_id: str) -> Prepared:
        """Turn one event (the contract's JSON types, already judged valid) into state calls."""
        values = [read(event) for read in self._readers]
        if values[0] == NULL:
            raise StateError(
                f"Expected an event with a time in {self.features.contract.event_time!r}, found none."
            )
        short_id = _short(event_id)
        calls: list[_EntityCall] = []
        commands: list[Command] = []
        keys: list[str] = []
        numbers: list[bytes] = []
        arguments: list[bytes] = []
        for call in self._calls:
            id = event.get(call.field)
            if id is None:
                continue
            key = entity_key(self.namespace, epoch, call.name, str(id))
            calls.append(call)
            arguments.append(call.argument(values))
            if self.together:
                keys.append(key)
                numbers.append(call.number)
            else:
                keyed = (f"{key}:a:{short_id}", key, f"{key}:l")
                commands.append(("FCALL", self._function, 3, *keyed, call.number, arguments[-1]))
        if keys:
            answer = f"{self.namespace}:{epoch}:a:{short_id}"
            sent = (b"".join(numbers), b"".join(arguments))
            commands = [("FCALL", self._function, 1 + len(keys), answer, *keys, *sent)]
        return Prepared(values, tuple(call.name for call in calls), tuple(arguments), tuple(commands))

    def decode(
        self, epoch: int, prepared: Sequence[Prepared], replies: Sequence[Any]
    ) -> list[Applied | StateError]:
        """Make the answers of several events from their replies, in the order of their commands.

        An event has an error in the place of its answer, and the others have theirs, when the server refused it, when its id was
        applied before with other entities, or so long ago that its answer cannot be made again.
        """
        columns = np.full((self.features.program.width, len(prepared)), NULL, np.int64)
        seqs: list[dict[str, int] | StateError] = []
        replied = iter(replies)
        for i, event in enumerate(prepared):
            columns[: len(event.values), i] = event.values
            mine = [next(replied) for _ in event.commands]
            if refused := next((reply for reply in mine if isinstance(reply, RedisError)), None):
                seqs.append(unreachable(refused))
                continue
            answer = np.frombuffer(b"".join(reply[0] for reply in mine), "<f8")
            lists = [value for reply in mine for value in reply[1:]]
            try:
                seqs.append(self._take(event, answer, lists, columns[:, i]))
            except StateError as error:
                columns[len(event.values) :, i] = NULL
                seqs.append(error)
        vectors = self.vectors(columns)
        return [
            found if isinstance(found, StateError) else Applied(epoch, found, vector)
            for found, vector in zip(seqs, vectors, strict=True)
        ]

    def _take(
        self,
        event: Prepared,
        answer: Any,
        lists: Sequence[bytes],
        column: np.ndarray[Any, np.dtype[np.int64]],
    ) -> dict[str, int]:
        """Write the slots of one event into its column; returns its seqs."""
        seqs: dict[str, int] = {}
        listed = iter(lists)
        at = 0
        for entity, packed in zip(event.entities, event.packed, strict=True):
            call = self._by_name[entity]
            slots = column[call.offset : call.offset + call.width]
            seq = int(answer[at]) if at < len(answer) else 0
            seqs[entity] = abs(seq)
            if seq > 0:
                value = next(listed, None)
                if value is None:
                    break
                call.events.slots(value, seq, packed, slots)
                at += 1
            else:
                found = answer[at + 1 : at + 1 + call.width]
                slots[: len(found)] = found
                at += 1 + call.width
        if at != len(answer):
            raise another_event(", ".join(event.entities))
        return seqs

    def read_command(self, epoch: int, entity: str, id: str, as_of_ms: int) -> Command:
        """Read one entity at a moment (0: as of its clock). Raises StateError for a kind that has no state."""
        call = self._call_of(entity)
        key = entity_key(self.namespace, epoch, call.name, id)
        reader = reader_name(self.features.state_hash)
        return (
            "FCALL_RO", reader, 2, key, f"{key}:l", call.number, call.argument(self._asking(as_of_ms)),
        )  # fmt: skip

    def decode_read(self, epoch: int, entity: str, id: str, as_of_ms: int, reply: Any) -> EntityFeatures:
        """Make the answer of a read from its reply."""
        call, reading = self._call_of(entity), self._reading
        slots = np.full(call.width, NULL, np.int64)
        head, *answer = reply
        if answer:
            slots[:] = np.frombuffer(answer[0], "<f8")[1:]
            seq = -int.from_bytes(head[:6], "little", signed=True)
            clock_ms: int | None = int.from_bytes(head[6:12], "little")
        else:
            seq, clock_ms = call.events.newest(head)
            call.events.slots(head, seq + 1, call.argument(self._asking(as_of_ms)), slots)
        as_of_ms = max(as_of_ms, clock_ms or 0)
        slots[[slot.kind == SlotKind.COUNT and slot.where is None for slot in call.slots]] -= 1  # what asked
        columns = np.full((reading.program.width, 1), NULL, np.int64)
        columns[0, 0] = as_of_ms
        first = reading.program.offsets[entity]
        columns[first : first + call.width, 0] = slots
        vector = self._run(reading.program, columns)[0]
        values = {name: float(vector[place]) for name, place in reading.names[entity].items()}
        return EntityFeatures(
            entity, id, clock_ms is not None, epoch, seq, clock_ms, as_of_ms, values, reading.asking[entity]
        )

    def _asking(self, as_of_ms: int) -> list[int]:
        """The inputs of an event that has a time and nothing else."""
        return [as_of_ms, *[NULL] * (len(self.features.program.inputs) - 1)]

    def _call_of(self, entity: str) -> "_EntityCall":
        if entity not in self._by_name:
            raise StateError(f"There is no online state of {entity!r}: {nearest(entity, self._by_name)}")
        return self._by_name[entity]

    def vectors(self, columns: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Run the kernel: int64[columns, events] → float32[events, features]."""
        return self._run(self.features.program, columns)

    @staticmethod
    def _run(
        program: Program, columns: np.ndarray[Any, np.dtype[np.int64]]
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        out = np.empty((columns.shape[1], len(program.features)), np.float32)
        evaluate(columns, program.steps, program.constants, program.features, out)
        return out

    def label_commands(self, epoch: int, effects: pl.DataFrame) -> list[Command]:
        """One call per entity that `effects` concern."""
        commands: list[Command] = []
        for (entity, id), part in effects.group_by(["entity", "entity_id"], maintain_order=True):
            if entity not in self.features.plans:
                continue
            plan = self.features.plans[str(entity)]
            key = entity_key(self.namespace, epoch, str(entity), str(id))
            ttl_s = life_ms(plan.rule) // 1000
            merge = pack_effects(part), ttl_s, plan.rule.label_cap
            commands.append(("FCALL", self._labels_function, 2, key, f"{key}:l", *merge, record_bytes(plan)))
        return commands

    def adopt(self, epoch: int, registered: Mapping[str, Any] | None) -> int:
        """Accept an epoch whose state means the same as this feature set. Raises StateError otherwise."""
        found = (registered or {}).get("state_hash")
        if found != self.features.state_hash:
            raise StateError(
                f"Expected online state {self.features.state_hash} in epoch {epoch} of {self.namespace!r}, found "
                f"{found or 'none registered'}: the feature declaration changed. Where this process has the older features.yaml, "
                "start it again with the new one; where the state is the older, run `spearhead state rebuild`."
            )
        return epoch


def unreachable(error: RedisError) -> StateError:
    """What is raised when Redis cannot be reached or refuses."""
    found = StateError(f"The online state cannot be used: {error}. Check Redis at SPEARHEAD_REDIS_URL.")
    found.__cause__ = error
    return found


def pack_effects(effects: pl.DataFrame) -> bytes:
    """Label effects as the records of layout.py."""
    pack = struct.Struct("<QQIB").pack
    rows = effects.select("effect_ms", "event_ms", "event_hash", "rank").iter_rows()
    packed = (pack(*row) for row in rows)
    return b"".join(raw[:6] + raw[8:14] + raw[16:] for raw in packed)


assert LABEL_FORMAT == "<I6I6I4B"

"""How one entity's state lies in bytes: a header, then a list of events (lists.py) or rings of buckets (rings.py).

Read and written by the state functions (lua_lists.py, lua_rings.py) and by the rebuild; little-endian, without padding.
"""

from dataclasses import dataclass

from fraud_core.features.plan import (
    HASH_KINDS,
    LABEL_KINDS,
    NUMBER_KINDS,
    EntityPlan,
    EntityRule,
    Input,
    Layout,
    Slot,
    SlotKind,
)

HEADER_VERSION = 5
"""Part of the state's hash: raise it when the bytes or the generated functions change their meaning."""
GRACE_MS = 86_400_000
"""How long a state outlives its horizon, so that an event that comes this late finds what the offline fold finds."""
REFRESH_MS = 3_600_000
REFRESH_EVENTS = 64
"""How often a ring's time to live is put off: at the first event of an hour, and at each 64th."""
LABEL_BYTES = 17
LABEL_FORMAT = "<I6I6I4B"
"""A label effect: effect ms, event ms, event hash, rank; the list is sorted by these."""
LABELS_VALID_AT = 12
"""Where the header says until when its label columns hold: 0 makes the state function work them out again."""
FOREVER_MS = 2**47 - 1


@dataclass(frozen=True)
class Part:
    """One value of a record: its name in generated code, bytes, whether signed, and the longest window that needs it."""

    name: str
    bytes: int
    signed: bool
    window_ms: int

    @property
    def format(self) -> str:
        return f"{'i' if self.signed else 'I'}{self.bytes}"


def reach_ms(slot: Slot, plan: EntityPlan) -> int:
    """How far back a slot's scan goes over a list's events; 0 when it needs none."""
    if slot.kind == SlotKind.CLEAN:
        return plan.rule.horizon_ms
    if slot.kind in NUMBER_KINDS | {SlotKind.COUNT, SlotKind.DISTINCT}:
        return slot.window_ms
    return 0


def record_parts(plan: EntityPlan) -> tuple[Part, ...]:
    """The parts of a record after its clock; what long windows need comes first, so that what leaves them is read as a prefix."""

    def need(kinds: frozenset[SlotKind], source: Input) -> int:
        return max(reach_ms(slot, plan) for slot in plan.slots if slot.kind in kinds and slot.input == source)

    parts = [Part(f"x{k}", 6, True, need(NUMBER_KINDS, source)) for k, source in enumerate(plan.numbers)]
    parts += [Part(f"g{k}", 4, False, need(HASH_KINDS, source)) for k, source in enumerate(plan.hashes)]
    if plan.filters:
        parts.append(Part("bits", 1, False, max(reach_ms(slot, plan) for slot in plan.slots if slot.where)))
    return tuple(sorted(parts, key=lambda part: -part.window_ms))


def label_columns(plan: EntityPlan) -> tuple[Slot, ...]:
    """What the header remembers of the label effects in force; CLEAN needs the newest fraud beside its own slot."""
    kinds = LABEL_KINDS - {SlotKind.CLEAN}
    found = dict.fromkeys(slot for slot in plan.slots if slot.kind in kinds)
    if plan.has_labels:
        found.setdefault(Slot(SlotKind.FRAUD_NEWEST))
    return tuple(found)


def header_format(plan: EntityPlan) -> str:
    """The header: seq, clock, [until when the label columns hold, label columns], carried values."""
    labels = "I6" + "i6" * len(label_columns(plan)) if plan.has_labels else ""
    return "<I6I6" + labels + "i6" * len(plan.carried)


def header_bytes(plan: EntityPlan) -> int:
    """Size of `header_format`."""
    return 12 + 6 * (len(label_columns(plan)) + plan.has_labels) + 6 * len(plan.carried)


def life_ms(rule: EntityRule) -> int:
    """How long a state that nobody touches is kept."""
    return rule.horizon_ms + GRACE_MS + (REFRESH_MS if rule.layout == Layout.BUCKETS else 0)


def record_bytes(plan: EntityPlan) -> int:
    """Size of one remembered event."""
    return 6 + sum(part.bytes for part in record_parts(plan))

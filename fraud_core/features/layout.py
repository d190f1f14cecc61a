"""How one entity's state lies in bytes: a header, then one record per remembered event, oldest first.

Read and written by the state functions (lua.py) and by the rebuild; little-endian, without padding.
"""

from dataclasses import dataclass

from fraud_core.features.plan import HASH_KINDS, NUMBER_KINDS, EntityPlan, EntityRule, Input, Slot, SlotKind

HEADER_VERSION = 2
"""Part of the state's hash: raise it when the bytes or the generated functions change their meaning."""
GRACE_MS = 86_400_000
"""How long a state outlives its horizon, so that an event that comes this late finds what the offline fold finds."""
LABEL_BYTES = 17
LABEL_FORMAT = "<I6I6I4B"
"""A label effect: effect ms, event ms, event hash, rank; the list is sorted by these."""


@dataclass(frozen=True)
class Part:
    """One value of a record: its name in generated code, bytes, whether signed, and the window that needs it."""

    name: str
    bytes: int
    signed: bool
    window_ms: int

    @property
    def format(self) -> str:
        return f"{'i' if self.signed else 'I'}{self.bytes}"


def reach_ms(slot: Slot, plan: EntityPlan) -> int:
    """How far back a slot looks over events; 0 when it looks at none."""
    if slot.kind in (SlotKind.SEEN, SlotKind.CLEAN):
        return plan.rule.horizon_ms
    if slot.kind in NUMBER_KINDS | HASH_KINDS | {SlotKind.COUNT}:
        return slot.window_ms
    return 0


def record_parts(plan: EntityPlan) -> tuple[Part, ...]:
    """The parts of a record after its clock; what long windows need comes first, so that a scan reads a prefix."""

    def need(kinds: frozenset[SlotKind], source: Input) -> int:
        return max(reach_ms(slot, plan) for slot in plan.slots if slot.kind in kinds and slot.input == source)

    parts = [Part(f"x{k}", 6, True, need(NUMBER_KINDS, source)) for k, source in enumerate(plan.numbers)]
    parts += [Part(f"g{k}", 4, False, need(HASH_KINDS, source)) for k, source in enumerate(plan.hashes)]
    if plan.filters:
        parts.append(Part("bits", 1, False, max(reach_ms(slot, plan) for slot in plan.slots if slot.where)))
    return tuple(sorted(parts, key=lambda part: -part.window_ms))


def life_ms(rule: EntityRule) -> int:
    """How long a state that nobody touches is kept."""
    return rule.horizon_ms + GRACE_MS


def record_bytes(plan: EntityPlan) -> int:
    """Size of one remembered event."""
    return 6 + sum(part.bytes for part in record_parts(plan))


def header_bytes(plan: EntityPlan) -> int:
    """Size of the header: seq, clock, carried values."""
    return 12 + 6 * len(plan.carried)


def state_bytes(plan: EntityPlan) -> int:
    """Most bytes that one entity's events can take."""
    return header_bytes(plan) + plan.rule.cap * record_bytes(plan)

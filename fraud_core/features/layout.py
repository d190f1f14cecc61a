"""What the two layouts of an entity's state share: label effects, lives; and the header of rings (rings.py; lists.py has its own).

Read and written by the state functions (lua_lists.py, lua_rings.py) and by the rebuild; little-endian, without padding.
"""

from fraud_core.features.plan import (
    LABEL_KINDS,
    NUMBER_KINDS,
    EntityPlan,
    EntityRule,
    Slot,
    SlotKind,
)

HEADER_VERSION = 6
"""Part of the state's hash: raise it when the bytes or the generated functions change their meaning."""
GRACE_MS = 86_400_000
"""How long a state outlives its horizon, so that an event that comes this late finds what the offline fold finds."""
REFRESH_EVENTS = 64
"""The time to live of rings is put off at each 64th event, that of a list whenever it lets go of events; and both as `refresh_ms` says."""
LABEL_BYTES = 17
LABEL_FORMAT = "<I6I6I4B"
"""A label effect: effect ms, event ms, event hash, rank; the list is sorted by these."""
LABELS_VALID_AT = 12
"""Where the header says until when its label columns hold: 0 makes the state function work them out again."""
FOREVER_MS = 2**47 - 1


def reach_ms(slot: Slot, plan: EntityPlan) -> int:
    """How far back a slot's scan goes over a list's events; 0 when it needs none."""
    if slot.kind == SlotKind.CLEAN:
        return plan.rule.horizon_ms
    if slot.kind in NUMBER_KINDS | {SlotKind.COUNT, SlotKind.DISTINCT}:
        return slot.window_ms
    return 0


def label_columns(plan: EntityPlan) -> tuple[Slot, ...]:
    """What the header remembers of the label effects in force; CLEAN needs the newest fraud beside its own slot."""
    kinds = LABEL_KINDS - {SlotKind.CLEAN}
    found = dict.fromkeys(slot for slot in plan.slots if slot.kind in kinds)
    if plan.has_labels:
        found.setdefault(Slot(SlotKind.FRAUD_NEWEST))
    return tuple(found)


def header_format(plan: EntityPlan) -> str:
    """The header of rings: seq, negative (see lists.LIST_FORMAT), clock, [until when the label columns hold, label columns], carried
    values."""
    labels = "I6" + "i6" * len(label_columns(plan)) if plan.has_labels else ""
    return "<i6I6" + labels + "i6" * len(plan.carried)


def header_bytes(plan: EntityPlan) -> int:
    """Size of `header_format`."""
    return 12 + 6 * (len(label_columns(plan)) + plan.has_labels) + 6 * len(plan.carried)


def refresh_ms(rule: EntityRule) -> int:
    """A state's time to live is put off by the first event of each such stretch of event time: one write less for the others."""
    return max(GRACE_MS, rule.horizon_ms // 8)


def life_ms(rule: EntityRule) -> int:
    """How long a state that nobody touches is kept: at least its horizon and GRACE_MS, whenever its life was put off last."""
    return rule.horizon_ms + GRACE_MS + refresh_ms(rule)

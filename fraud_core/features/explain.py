"""What a feature means, needs and costs, in words."""

from typing import TYPE_CHECKING

from fraud_core.features.lists import QUIET_EVENTS
from fraud_core.features.operators import OPERATORS
from fraud_core.features.plan import SKETCH_ERROR, EntityPlan, Held, Layout, Node, Slot, SlotKind
from fraud_core.features.rings import rings, state_bytes
from fraud_core.features.source import spell_duration
from fraud_core.features.wording import Wording

if TYPE_CHECKING:
    from fraud_core.features.feature_set import Feature, FeatureSet

_COSTS = {
    Layout.LIST: "some 10 µs of the server's time per event, and 25 to 100 µs of the client's by the events (docs/features.md)",
    Layout.BUCKETS: f"as a list up to {QUIET_EVENTS} events, then some 30 µs of the server's time per event (docs/features.md)",
}
"""Measured on one core, all features of an entity together; see docs/features.md."""


def explain(features: "FeatureSet", feature: "Feature") -> str:
    """The text of `spearhead features explain`."""
    lines = [
        f"{feature.name}: {feature.meaning}.",
        *_reason(feature.wording),
        f"operator   {feature.operator} (version {OPERATORS[feature.operator].version})",
        f"fields     {', '.join(feature.fields) or 'none'}",
    ]
    if not feature.entities:
        lines.append("state      none: computed from the event alone")
    for entity in feature.entities:
        plan = features.plans[entity]
        lines.append(
            f"state      {entity}: {_remembered(plan)}, at most {state_bytes(plan):,} bytes, shared by all its features"
        )
        lines.append(f"cost       {_COSTS[plan.rule.layout]}")
        lines += _steps(plan, _slots(feature.node, entity))
    return "\n".join([*lines, f"hash       {feature.hash}", f"declared   {features.path}:{feature.line}"])


def error_of(feature: "Feature") -> float | None:
    """Standard error of an estimated feature, relative; None where it is exact."""
    slots = [slot for entity in feature.entities for slot in _slots(feature.node, entity)]
    return SKETCH_ERROR if any(slot.kind == SlotKind.SKETCH for slot in slots) else None


def _reason(wording: Wording) -> list[str]:
    bounds = wording.bounds()
    return [
        f"reason     {wording.text}" + (f" (said of values {bounds})" if bounds else ""),
        f"           without a value: {wording.absent or 'it gives no reason'}",
    ]


def _remembered(plan: EntityPlan) -> str:
    history = spell_duration(plan.rule.horizon_ms)
    if plan.rule.layout == Layout.LIST:
        return f"its last {plan.rule.cap} events of {history}"
    return f"totals per bucket of time over {history}"


def _steps(plan: EntityPlan, slots: list[Slot]) -> list[str]:
    """How exact the feature's windows are."""
    if plan.rule.layout == Layout.LIST:
        return []
    lines = [
        f"window     {spell_duration(ring.window_ms)}: the bucket of the moment and the {ring.buckets - 1} before it, "
        f"of {spell_duration(ring.width_ms)} each; what fell out of them no longer counts"
        for ring in rings(plan)
        if any(slot in ring.measures or (ring.clean and slot.kind == SlotKind.CLEAN) for slot in slots)
    ]
    if any(slot.kind == SlotKind.SKETCH for slot in slots):
        lines.append(
            f"error      an estimate: standard error {SKETCH_ERROR:.0%} of the number, small numbers less"
        )
    return lines


def _slots(node: Node, entity: str) -> list[Slot]:
    found = [column.slot for column in node.columns if isinstance(column, Held) and column.entity == entity]
    for inner in node.nodes:
        found += _slots(inner, entity)
    return found

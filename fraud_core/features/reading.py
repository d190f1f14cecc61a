"""The program for reading an entity when there is no payment: what a payment would find there, without the payment.

A feature that asks something of the payment itself (its amount, its place, whether its merchant is new) has no value
then; it is named, so that its absence is not taken for an empty past.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fraud_core.features.plan import EntityPlan, Held, Input, InputKind, Node, Op, SlotKind
from fraud_core.features.program import Program, build_program

if TYPE_CHECKING:
    from fraud_core.features.feature_set import Feature

_LEAVE_OUT = frozenset({Op.MEAN, Op.STD, Op.QUANTILE})
"""Operations whose own-value column takes the payment off totals that it is part of; here it is part of none."""


@dataclass(frozen=True, eq=False)
class ReadingProgram:
    """Per entity kind: the features that have a value without a payment, and those that have none."""

    program: Program
    names: Mapping[str, Mapping[str, int]]
    """Entity kind → feature → its place in the vector."""
    asking: Mapping[str, tuple[str, ...]]
    """Entity kind → features that ask something of a payment."""


def reading_program(
    features: tuple["Feature", ...], inputs: tuple[Input, ...], plans: Mapping[str, EntityPlan]
) -> ReadingProgram:
    """Sort the features of single entities into those with a value and those without."""
    nodes: list[Node] = []
    names: dict[str, dict[str, int]] = {name: {} for name in plans}
    asking: dict[str, list[str]] = {name: [] for name in plans}
    for feature in features:
        if len(feature.entities) != 1:
            continue
        [entity] = feature.entities
        node = _without_payment(feature.node)
        if _asks(node):
            asking[entity].append(feature.name)
        else:
            names[entity][feature.name] = len(nodes)
            nodes.append(node)
    program = build_program(nodes, inputs, plans)
    return ReadingProgram(program, names, {name: tuple(found) for name, found in asking.items()})


def _without_payment(node: Node) -> Node:
    columns = tuple(
        None if node.op in _LEAVE_OUT and isinstance(column, Input) else column for column in node.columns
    )
    guards = tuple(column for column in node.guards if not _of_payment(column))
    return replace(node, columns=columns, guards=guards, nodes=tuple(map(_without_payment, node.nodes)))


def _asks(node: Node) -> bool:
    return any(map(_of_payment, node.columns)) or any(map(_asks, node.nodes))


def _of_payment(column: object) -> bool:
    if isinstance(column, Held):
        return column.slot.kind == SlotKind.SEEN
    return isinstance(column, Input) and column.kind != InputKind.TIME

"""Nodes and slots as the arrays that the kernel runs on, and where each input and slot stands among its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraud_core.features.kernel import MAX_GUARDS, NONE, STEP_WIDTH
from fraud_core.features.plan import (
    MAX_COLUMNS,
    MAX_CONSTANTS,
    MAX_NODES,
    Column,
    EntityPlan,
    Held,
    Input,
    Node,
)


@dataclass(frozen=True, eq=False)
class Program:
    """One feature set, ready to run: columns are first all inputs, then each entity's slots in turn."""

    inputs: tuple[Input, ...]
    offsets: Mapping[str, int]
    """Entity → column of its first slot."""
    width: int
    steps: np.ndarray[Any, np.dtype[np.int64]]
    constants: np.ndarray[Any, np.dtype[np.float64]]
    features: np.ndarray[Any, np.dtype[np.int64]]


def build_program(nodes: Sequence[Node], inputs: Sequence[Input], plans: Mapping[str, EntityPlan]) -> Program:
    """Number the columns and flatten `nodes` (one per feature) into steps, each different node once."""
    columns: dict[Column, int] = {source: place for place, source in enumerate(inputs)}
    offsets: dict[str, int] = {}
    width = len(columns)
    for name, plan in plans.items():
        offsets[name] = width
        for place, slot in enumerate(plan.slots):
            columns[Held(name, slot)] = width + place
        width += len(plan.slots)
    numbers: dict[Node, int] = {}

    def visit(node: Node) -> None:
        for inner in node.nodes:
            visit(inner)
        numbers.setdefault(node, len(numbers))

    for node in nodes:
        visit(node)
    steps = np.full((len(numbers), STEP_WIDTH), NONE, np.int64)
    constants = np.zeros((len(numbers), MAX_CONSTANTS), np.float64)
    for node, row in numbers.items():
        assert len(node.columns) <= MAX_COLUMNS
        assert len(node.nodes) <= MAX_NODES
        assert len(node.guards) <= MAX_GUARDS
        steps[row, 0] = node.op
        for place, column in enumerate(node.columns):
            steps[row, 1 + place] = NONE if column is None else columns[column]
        for place, inner in enumerate(node.nodes):
            steps[row, 1 + MAX_COLUMNS + place] = numbers[inner]
        head = 1 + MAX_COLUMNS + MAX_NODES
        steps[row, head] = len(node.guards)
        for place, column in enumerate(node.guards):
            steps[row, head + 1 + place] = columns[column]
        constants[row, : len(node.constants)] = node.constants
    features = np.array([numbers[node] for node in nodes], np.int64)
    return Program(tuple(inputs), offsets, width, steps, constants, features)

"""What operators compile to: event inputs, state slots per entity, and nodes of arithmetic.

The invariant of the whole engine stands here: **inputs and slots are integers below 2^47, absent ones are NULL;
everything fractional is a node**, computed from them by one kernel in both executions.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TypeAlias

NULL = -(2**47)
"""An absent value, everywhere: in inputs, in stored records (it fits 6 bytes) and in slots."""
VALUE_LIMIT = 2**40
"""Numbers saturate here, so that sums over a capped history and the limbs of squares stay exact in a double."""
LIMB = 2**40
"""Squares are kept as two limbs: Σx² = high · 2^40 + low, 0 ≤ low < 2^40 over a list."""
LIMB_BITS = 40
LIMB_MASK = 2**LIMB_BITS - 1
MAX_FILTERS = 8

SATURATION = 2**46
"""A bucket's sum, and the high limb of its squares, stop here, so that a ring's totals stay exact in a double."""
MAX_BIAS = 2**41
"""A bucket's maximum is stored with this added, so that 0 means none."""

SKETCH_CELLS = 256
SKETCH_LEVELS = 15
SKETCH_DIGIT = 512
SKETCH_DIGITS = 5
SKETCH_PARTS = SKETCH_LEVELS // SKETCH_DIGITS
"""A sketch counts distinct values: a value's hash decides its level (level l with probability 2^-(l+1)) and its cell
there. Its answer is the number of cells per level that the window's events met, `SKETCH_DIGITS` levels per integer."""
SKETCH_ERROR = 0.05
"""Standard error of the estimate, relative, up to some three million different values; see kernel.py."""


class SlotKind(IntEnum):
    """What a state function returns, one integer per slot."""

    CLOCK = 0  # running maximum of event time, ms
    PREVIOUS = 1  # the clock before this event, ms; this and CARRIED only within the horizon
    COUNT = 2  # events in the window
    FILLED = 3  # events in the window whose value is not null
    SUM = 4
    SQUARES_HIGH = 5
    SQUARES_LOW = 6
    MAX = 7
    DISTINCT = 8  # different non-null values in the window
    SEEN = 9  # clock of the newest earlier event with the same value, ms
    CARRIED = 10  # a value of the previous event
    FRAUDS = 11  # known frauds whose event time lies in the window
    FRAUD_NEWEST = 12  # event time of the newest known fraud, ms
    FRAUD_OLDEST = 13  # event time of the oldest known fraud in the window, ms
    CLEAN = 14  # events after the newest known fraud that are older than the window's length
    ORDER_LOW = (
        15  # of the window's n values in order, from 0, the one at the whole part of (n - 1) · rank / 1000
    )
    ORDER_HIGH = 16  # the one after it, or the same where that is a whole number
    SKETCH = 17  # met cells per level of a sketch of different values, see SKETCH_LEVELS


LABEL_KINDS = frozenset({SlotKind.FRAUDS, SlotKind.FRAUD_NEWEST, SlotKind.FRAUD_OLDEST, SlotKind.CLEAN})
ORDER_KINDS = frozenset({SlotKind.ORDER_LOW, SlotKind.ORDER_HIGH})
NUMBER_KINDS = ORDER_KINDS | {
    SlotKind.FILLED,
    SlotKind.SUM,
    SlotKind.SQUARES_HIGH,
    SlotKind.SQUARES_LOW,
    SlotKind.MAX,
}
HASH_KINDS = frozenset({SlotKind.DISTINCT, SlotKind.SEEN})
CELL_KINDS = frozenset({SlotKind.SKETCH})


class InputKind(IntEnum):
    """How a field of an event becomes one integer."""

    TIME = 0  # ms since 1970
    DATE = 1  # days since 1970
    NUMBER = 2  # value x scale, rounded half to even, saturated
    FLAG = 3  # 0 or 1
    HASH = 4  # 32-bit hash, never 0
    ENUM = 5  # place in the list of categories, from 0
    DIGITS = 6  # a string of digits as the number it spells
    BUCKET = 7  # hash modulo `scale`
    CELL = 8  # the value's place in a sketch: level · SKETCH_CELLS + cell


@dataclass(frozen=True)
class Input:
    """One integer taken from an event's field."""

    kind: InputKind
    field: str
    scale: float = 1.0
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filter:
    """Which events of an entity a window looks at: every clause holds (an input's value is among the listed ones)."""

    clauses: tuple[tuple[Input, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Slot:
    """One integer of an entity's state; `window_ms` is the length of the window (t - window, t]."""

    kind: SlotKind
    window_ms: int = 0
    input: Input | None = None
    where: Filter | None = None
    rank: int = 0
    """Of an order statistic, in thousandths: 500 is the median."""
    past: bool = False
    """Whether an order statistic leaves the current event out."""
    part: int = 0
    """Which integer of a sketch."""


@dataclass(frozen=True)
class Held:
    """A slot of an entity, as an argument of a node."""

    entity: str
    slot: Slot


Column: TypeAlias = Input | Held


class Op(IntEnum):
    """What the kernel can compute; see kernel.py for the formulas."""

    VALUE = 0
    HOUR = 1
    WEEKDAY = 2
    NIGHT = 3
    DIFFERENCE = 4
    MEAN = 5
    STD = 6
    ZSCORE = 7
    RATIO = 8
    ELAPSED = 9
    DISTANCE = 10
    SPEED = 11
    DIFFERS = 12
    PRESENT = 13
    FIRST = 14
    DAYS = 15
    SHARE = 16
    QUANTILE = 17
    ESTIMATE = 18


MAX_COLUMNS = 8
MAX_NODES = 2
MAX_CONSTANTS = 2


@dataclass(frozen=True)
class Node:
    """One step of arithmetic. If any `guards` column is NULL the result is NaN, whatever the operation."""

    op: Op
    columns: tuple[Column | None, ...] = ()
    constants: tuple[float, ...] = ()
    guards: tuple[Column, ...] = ()
    nodes: tuple["Node", ...] = ()


class Layout(StrEnum):
    """How an entity's state remembers its past."""

    LIST = "list"
    """The newest events themselves: exact windows, cost and bytes by the number of events."""
    BUCKETS = "buckets"
    """Totals per bucket of time: windows in steps of a bucket, cost and bytes the same whatever the traffic."""


LABEL_CAPS = {Layout.LIST: 512, Layout.BUCKETS: 2048}


@dataclass(frozen=True)
class EntityRule:
    """What features.yaml says about one entity's state. `field` is the event's field with the entity's id."""

    name: str
    field: str
    horizon_ms: int
    line: int
    layout: Layout = Layout.LIST
    cap: int = 0
    """Events that a list remembers at most."""
    buckets: int = 0
    """Buckets per window."""

    @property
    def label_cap(self) -> int:
        """Of an entity's label effects that are in force, the newest this many count."""
        return LABEL_CAPS[self.layout]


@dataclass(frozen=True)
class EntityPlan:
    """The state of one entity, laid out: both executions are generated from this and nothing else."""

    rule: EntityRule
    numbers: tuple[Input, ...]
    hashes: tuple[Input, ...]
    carried: tuple[Input, ...]
    cells: tuple[Input, ...]
    filters: tuple[Filter, ...]
    slots: tuple[Slot, ...]
    """In the order of the state function's reply; the first is CLOCK."""

    @property
    def windows(self) -> tuple[int, ...]:
        """Lengths of the windows over events, ascending, ms."""
        return tuple(
            sorted({slot.window_ms for slot in self.slots if slot.window_ms and slot.kind not in LABEL_KINDS})
        )

    @property
    def has_labels(self) -> bool:
        """Whether any slot reads label effects."""
        return any(slot.kind in LABEL_KINDS for slot in self.slots)

    @property
    def arguments(self) -> tuple[Input, ...]:
        """Inputs that the state function receives after the event time."""
        return self.numbers + self.hashes + self.carried + self.cells


@dataclass
class PlanBuilder:
    """Collects what operators ask for, each input and slot once."""

    event_time: Input
    inputs: dict[Input, None] = field(default_factory=dict)
    held: dict[str, dict[Slot, None]] = field(default_factory=dict)

    def take(self, node: Node) -> None:
        """Register everything that `node` reads."""
        for column in (*node.columns, *node.guards):
            if isinstance(column, Input):
                self.inputs.setdefault(column)
            elif isinstance(column, Held):
                self._hold(column)
        for inner in node.nodes:
            self.take(inner)

    def _hold(self, column: Held) -> None:
        slots = self.held.setdefault(column.entity, {Slot(SlotKind.CLOCK): None})
        slots.setdefault(column.slot)
        if column.slot.input is not None:
            self.inputs.setdefault(column.slot.input)
        for needed, _ in column.slot.where.clauses if column.slot.where else ():
            self.inputs.setdefault(needed)

    def layout(self, rule: EntityRule) -> EntityPlan:
        """The laid-out state of one entity."""
        slots = tuple(self.held.get(rule.name, {Slot(SlotKind.CLOCK): None}))

        def fields_of(kinds: frozenset[SlotKind]) -> tuple[Input, ...]:
            return tuple(dict.fromkeys(slot.input for slot in slots if slot.kind in kinds and slot.input))

        return EntityPlan(
            rule=rule,
            numbers=fields_of(NUMBER_KINDS),
            hashes=fields_of(HASH_KINDS),
            carried=fields_of(frozenset({SlotKind.CARRIED})),
            cells=fields_of(CELL_KINDS),
            filters=tuple(dict.fromkeys(slot.where for slot in slots if slot.where)),
            slots=slots,
        )

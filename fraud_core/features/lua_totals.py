"""Generated Lua that keeps up what each window of a list holds: its number of events, its totals, its ordered values.

What left a window since the last event is taken off it, then the event is added. Whether a value stays in a window, or is
new to it, is a search for its bytes; a maximum that left is looked for anew among the events of its window.
"""

from collections.abc import Callable, Iterable

from fraud_core.features.layout import Part, record_bytes, record_parts
from fraud_core.features.lists import (
    ORDERED_BYTES,
    ORDERED_FORMAT,
    Window,
    order_of,
    orders,
    start_bytes,
    windows,
)
from fraud_core.features.lua_steps import filtered, square_limbs
from fraud_core.features.plan import (
    LIMB_BITS,
    NUMBER_KINDS,
    ORDER_KINDS,
    EntityPlan,
    Filter,
    Input,
    Slot,
    SlotKind,
)

SEARCHES = """
-- Place, from 0, of the newest event whose value at `first` of the first event is `wanted`; nil where none has it.
local function newest(v, wanted, first, size)
  local p = find(v, wanted, first, true)
  while p and (p - first) % size ~= 0 do p = find(v, wanted, p + 1, true) end
  return p and (p - first) / size
end

-- The same among events with a bit set in the byte `ahead` of the value.
local function newest_of(v, wanted, first, size, ahead, bit)
  local p = find(v, wanted, first, true)
  while p and ((p - first) % size ~= 0 or band(byte(v, p + ahead) or 0, bit) == 0) do p = find(v, wanted, p + 1, true) end
  return p and (p - first) / size
end

-- How many of the `count` values in ascending order are below x.
local function below(values, count, x)
  local low, high = 0, count
  while low < high do
    local middle = (low + high - (low + high) % 2) / 2
    if unpack_struct('<i6', values, middle * 6 + 1) < x then low = middle + 1 else high = middle end
  end
  return low
end
"""
assert (ORDERED_BYTES, ORDERED_FORMAT) == (6, "i6"), "`below` reads them"

_MOST_LOCALS = 60
"""A function has room for 200 locals, and for 250 values with what it is just computing; more than this many stand in tables."""


class Names:
    """The variables of the generated function."""

    def __init__(self, plan: EntityPlan) -> None:
        self.plan = plan
        self.size = record_bytes(plan)
        self.start = start_bytes(plan) + 1
        """Where the events begin in the value, counted from 1 as Lua does."""
        self.windows = windows(plan)
        self.orders = orders(plan)
        totals = [slot for window in self.windows for slot in window.totals]
        ranks = sum(slot.kind in ORDER_KINDS for slot in plan.slots)
        count = len(self.windows) + len(totals) + 2 * len(self.orders) + ranks
        self.in_tables = count > _MOST_LOCALS
        name: Callable[[int], str] = "w[{}]".format if self.in_tables else "w{}".format
        self.counts = [name(k + 1) for k in range(len(self.windows))]
        """Events of each window."""
        self.totals = {slot: name(len(self.windows) + k + 1) for k, slot in enumerate(totals)}
        filled = len(self.windows) + len(totals)
        self.ordered = {slot: name(filled + k + 1) for k, slot in enumerate(self.orders)}
        """Values of each order statistic."""
        self.kept = [*self.counts, *self.totals.values(), *self.ordered.values()]
        self.empty = ["NULL" if slot.kind == SlotKind.MAX else "0" for slot in totals]
        self.empty = ["0"] * len(self.windows) + self.empty + ["0"] * len(self.orders)
        parts = record_parts(plan)
        self.ahead = {
            part.name: 6 + sum(before.bytes for before in parts[:k]) for k, part in enumerate(parts)
        }
        """Where in an event a part stands."""

    def hash(self, source: Input | None) -> str:
        assert source is not None
        return f"g{self.plan.hashes.index(source)}"

    def number(self, source: Input | None) -> str:
        assert source is not None
        return f"x{self.plan.numbers.index(source)}"

    def values(self, order: Slot) -> str:
        """The ordered values, as bytes."""
        place = self.orders.index(order) + 1
        return f"values[{place}]" if self.in_tables else f"values{place}"

    def rank(self, place: int) -> str:
        """The answer of an order statistic, by the place of its slot."""
        return f"ranks[{place}]" if self.in_tables else f"rank{place}"

    def search(self, source: Input | None, where: Filter | None, wanted: str) -> str:
        """An expression: the place of the newest event with a value."""
        ahead = self.ahead[self.hash(source)]
        of = f"v, {wanted}, {self.start + ahead}, {self.size}"
        if where is None:
            return f"newest({of})"
        return f"newest_of({of}, {self.ahead['bits'] - ahead}, {1 << self.plan.filters.index(where)})"


def leave_lines(names: Names, place: int) -> list[str]:
    """Take off a window what left it, oldest first: what is too old, and what a list as long as its cap has no room for."""
    plan, window, count = names.plan, names.windows[place], names.counts[place]
    ordered = [order for order in names.orders if order.window_ms == window.window_ms]
    largest = [slot for slot in window.totals if slot.kind == SlotKind.MAX]
    again = [f"again{k}" for k in range(len(largest))]
    parts = _needed(names, [*window.totals, *ordered])
    lines = ["    do", *[f"      local {name} = false" for name in again]]
    lines += [
        f"      while {count} > 0 do",
        f"        local p = {names.start - names.size} + {count} * {names.size}",
        f"        if unpack_struct('<I6', v, p) > t - {window.window_ms} and {count} < {plan.rule.cap} then break end",
        f"        {count} = {count} - 1",
    ]
    if parts:
        read = ", ".join(f"r{part.name}" for part in parts)
        lines.append(f"        local {read} = unpack_struct('<{_formats(parts)}', v, p + 6)")
    lines += [f"        {step}" for step in _number_lines(names, window, "-", "r", again)]
    for slot in window.totals:
        total = names.totals[slot]
        if slot.kind == SlotKind.COUNT:
            lines.append(f"        {filtered(plan, slot.where, f'{total} = {total} - 1', 'rbits')}")
        if slot.kind == SlotKind.DISTINCT:
            g = names.hash(slot.input)
            wanted = f"sub(v, p + {names.ahead[g]}, p + {names.ahead[g] + 3})"
            step = f"if r{g} ~= 0 and {names.search(slot.input, slot.where, wanted)} == {count} then {total} = {total} - 1 end"
            lines.append(f"        {filtered(plan, slot.where, step, 'rbits')}")
    for order in ordered:
        x, values, filled = f"r{names.number(order.input)}", names.values(order), names.ordered[order]
        step = (
            f"if {x} ~= NULL then local k = below({values}, {filled}, {x}); {filled} = {filled} - 1; "
            f"{values} = sub({values}, 1, k * 6) .. sub({values}, k * 6 + 7) end"
        )
        lines.append(f"        {filtered(plan, order.where, step, 'rbits')}")
    lines.append("      end")
    for name, slot in zip(again, largest, strict=True):
        lines += _again_lines(names, slot, name, count)
    return [*lines, "    end"]


def _again_lines(names: Names, slot: Slot, again: str, count: str) -> list[str]:
    """Look for a maximum among the events that are left in its window."""
    total, number = names.totals[slot], names.number(slot.input)
    ahead = names.ahead[number]
    step = f"if x > {total} then {total} = x end"
    if slot.where:
        bit = 1 << names.plan.filters.index(slot.where)
        step = f"if band(byte(v, p + {names.ahead['bits'] - ahead}), {bit}) ~= 0 and x > {total} then {total} = x end"
    begin = names.start + ahead
    return [
        f"      if {again} then",
        f"        {total} = NULL",
        f"        for p = {begin}, {begin - names.size} + {count} * {names.size}, {names.size} do",
        "          local x = unpack_struct('<i6', v, p)",
        f"          {step}",
        "        end",
        "      end",
    ]


def _needed(names: Names, slots: list[Slot]) -> tuple[Part, ...]:
    """The parts of an event up to the last one that some slots look at."""
    wanted = {names.number(slot.input) for slot in slots if slot.kind in NUMBER_KINDS}
    wanted |= {names.hash(slot.input) for slot in slots if slot.kind == SlotKind.DISTINCT}
    wanted |= {"bits" for slot in slots if slot.where}
    parts = record_parts(names.plan)
    last = max((k for k, part in enumerate(parts) if part.name in wanted), default=-1)
    return parts[: last + 1]


def _number_lines(names: Names, window: Window, sign: str, r: str, again: list[str]) -> list[str]:
    """Add an event to the totals of numbers, or take it off; those of one number share its null check.

    again: per maximum of the window, the variable that says to look for it anew."""
    steps: dict[tuple[Filter | None, Input], list[str]] = {}
    largest = 0
    for slot in window.totals:
        if slot.kind not in NUMBER_KINDS or slot.input is None:
            continue
        x, total = r + names.number(slot.input), names.totals[slot]
        mine = steps.setdefault((slot.where, slot.input), [])
        if slot.kind == SlotKind.FILLED:
            mine.append(f"{total} = {total} {sign} 1")
        elif slot.kind == SlotKind.SUM:
            mine.append(f"{total} = {total} {sign} {x}")
        elif slot.kind == SlotKind.MAX and sign == "+":
            mine.append(f"if {x} > {total} then {total} = {x} end")
        elif slot.kind == SlotKind.MAX:
            mine.append(f"if {x} == {total} then {again[largest]} = true end")
            largest += 1
        elif slot.kind == SlotKind.SQUARES_HIGH:
            low = names.totals[Slot(SlotKind.SQUARES_LOW, slot.window_ms, slot.input, slot.where)]
            mine.append(
                f"do {square_limbs(x)}; low = {low} {sign} low; {low} = low % {2**LIMB_BITS}; "
                f"{total} = {total} {sign} high + (low - {low}) / {2**LIMB_BITS} end"
            )
    return [
        filtered(
            names.plan, where, f"if {r}{names.number(source)} ~= NULL then {'; '.join(mine)} end", f"{r}bits"
        )
        for (where, source), mine in steps.items()
    ]


def met_variable(names: Names, source: Input | None, where: Filter | None) -> str:
    """The variable with the place where the event's value was met last."""
    filter_ = "" if where is None else f"_{names.plan.filters.index(where)}"
    return f"met{names.hash(source)[1:]}{filter_}"


def add_lines(names: Names) -> list[str]:
    """Add the event to each window."""
    plan = names.plan
    lines = []
    for window, count in zip(names.windows, names.counts, strict=True):
        lines += _number_lines(names, window, "+", "", [])
        for slot in window.totals:
            total = names.totals[slot]
            step = f"{total} = {total} + 1"
            if slot.kind == SlotKind.COUNT:
                lines.append(filtered(plan, slot.where, step))
            elif slot.kind == SlotKind.DISTINCT:
                g, met = names.hash(slot.input), met_variable(names, slot.input, slot.where)
                lines.append(filtered(plan, slot.where, f"if {g} ~= 0 and {met} >= {count} then {step} end"))
        lines.append(f"{count} = {count} + 1")
    return [f"  {line}" for line in lines]


def order_lines(names: Names, *, past: bool) -> list[str]:
    """Answer the order statistics that leave the event out; else add it to the ordered values and answer the others."""
    lines = []
    for order in [] if past else names.orders:
        x, values, filled = names.number(order.input), names.values(order), names.ordered[order]
        step = (
            f"if {x} ~= NULL then local k = below({values}, {filled}, {x}); {filled} = {filled} + 1; "
            f"{values} = sub({values}, 1, k * 6) .. pack('<i6', {x}) .. sub({values}, k * 6 + 1) end"
        )
        lines.append(f"  {filtered(names.plan, order.where, step)}")
    for place, slot in enumerate(names.plan.slots):
        if slot.kind not in ORDER_KINDS or slot.past != past:
            continue
        order = order_of(slot)
        values, filled = names.values(order), names.ordered[order]
        up = " + (r > 0 and 6 or 0)" if slot.kind == SlotKind.ORDER_HIGH else ""
        lines += [
            f"  {'' if names.in_tables else 'local '}{names.rank(place)} = NULL",
            f"  if {filled} > 0 then",
            f"    local k = ({filled} - 1) * {slot.rank}",
            "    local r = k % 1000",
            f"    {names.rank(place)} = unpack_struct('<i6', {values}, (k - r) / 1000 * 6 + 1{up})",
            "  end",
        ]
    return lines


def _formats(parts: Iterable[Part]) -> str:
    return "".join(part.format for part in parts)

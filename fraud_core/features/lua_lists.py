"""The state function of an entity whose layout is a list: one packed value, see lists.py.

Each window's totals are kept up: what left it since the last event is taken off, the event is added. Whether a value
was met before is a search for its bytes; a maximum that left is looked for anew among the events of its window.
"""

from collections.abc import Callable, Iterable

from fraud_core.features.layout import (
    Part,
    header_bytes,
    header_format,
    label_columns,
    life_ms,
    record_bytes,
    record_parts,
)
from fraud_core.features.lists import (
    COUNT_FORMAT,
    ORDERED_BYTES,
    ORDERED_FORMAT,
    TOTAL_FORMAT,
    Window,
    order_of,
    orders,
    start_bytes,
    totals_format,
    windows,
)
from fraud_core.features.lua_steps import argument_lines, filtered, label_lines, packed, square_limbs
from fraud_core.features.plan import (
    LABEL_KINDS,
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

_MOST_LOCALS = 100
"""A function has room for 200 locals; totals of more than this many stand in a table."""


class _Names:
    """The variables of the generated function."""

    def __init__(self, plan: EntityPlan) -> None:
        self.plan = plan
        self.size = record_bytes(plan)
        self.start = start_bytes(plan) + 1
        """Where the events begin in the value, counted from 1 as Lua does."""
        self.windows = windows(plan)
        self.orders = orders(plan)
        totals = [slot for window in self.windows for slot in window.totals]
        count = 2 * len(self.windows) + len(totals) + len(self.orders)
        name: Callable[[int], str] = "w{}".format if count <= _MOST_LOCALS else "w[{}]".format
        self.in_table = count > _MOST_LOCALS
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
        return f"values{self.orders.index(order)}"

    def search(self, source: Input | None, where: Filter | None, wanted: str) -> str:
        """An expression: the place of the newest event with a value."""
        ahead = self.ahead[self.hash(source)]
        of = f"v, {wanted}, {self.start + ahead}, {self.size}"
        if where is None:
            return f"newest({of})"
        return f"newest_of({of}, {self.ahead['bits'] - ahead}, {1 << self.plan.filters.index(where)})"


def list_function(plan: EntityPlan) -> str:
    """Source of the function: of an entity's state and labels (keys) and the packed inputs, it returns packed slots."""
    names = _Names(plan)
    size, start = names.size, names.start
    carried = [f"k{k}" for k in range(len(plan.carried))]
    before = [f"was_{value}" for value in carried]
    columns = [f"l{place}" for place in range(len(label_columns(plan)))]
    labels = ["holds", *columns] if plan.has_labels else []
    parts = record_parts(plan)
    first = ["seq", "previous", *labels, *before]
    last = names.counts[-1]
    lines = [
        "function(key, labels_key, packed, at)",
        *argument_lines(plan),
        "  local v = call('GET', key)",
        f"  local {', '.join(first)} = 0, NULL{', 0' * len(labels)}{', NULL' * len(before)}",
        *_empty_lines(names),
        "  if v then",
        *_read_lines(plan, names, first),
        "    if previous > t then t = previous end",
        *_values_lines(names),
        *[line for place in range(len(names.windows)) for line in _leave_lines(names, place)],
        f"    if previous <= t - {plan.rule.horizon_ms} then",
        f"      {', '.join(['previous', *before])} = {', '.join(['NULL'] * (1 + len(before)))}",
        "    end",
        "  end",
        "  seq = seq + 1",
        *label_lines(plan, "holds", columns),
        *_met_lines(plan, names),
        *_clean_lines(plan, names),
        *_order_lines(names, past=True),
        *_add_lines(names),
        *_order_lines(names, past=False),
    ]
    written = ["seq", "t", *labels, *carried, *names.kept, "t", *[part.name for part in parts]]
    formats = ["I6", "I6", *["I6", *["i6"] * len(columns)][: len(labels)], *["i6"] * len(carried)]
    formats += [COUNT_FORMAT] * len(names.counts) + [TOTAL_FORMAT] * len(names.totals)
    formats += [COUNT_FORMAT] * len(names.ordered) + ["I6", *[part.format for part in parts]]
    tail = "".join(f" .. {names.values(order)}" for order in names.orders)
    slots = ["seq", *_slot_values(plan, names, columns, before)]
    lines += [
        f"  local state = {packed(formats, written)}",
        f"  if {last} > 1 then state = state .. sub(v, {start}, {start - 1} + ({last} - 1) * {size}){tail} "
        + (f"else state = state{tail} end" if tail else "end"),
        f"  call('SET', key, state, 'EX', {life_ms(plan.rule) // 1000})",
        f"  return {packed(['d'] * len(slots), slots)}",
        "end",
    ]
    return "\n".join(lines)


def _formats(parts: Iterable[Part]) -> str:
    return "".join(part.format for part in parts)


def _empty_lines(names: _Names) -> list[str]:
    """Totals and ordered values of an entity that was never met."""
    empty = ", ".join(names.empty)
    lines = [f"  local w = {{{empty}}}" if names.in_table else f"  local {', '.join(names.kept)} = {empty}"]
    if names.orders:
        values = ", ".join(names.values(order) for order in names.orders)
        lines.append(f"  local {values} = {', '.join(repr('') for _ in names.orders)}")
    return lines


def _read_lines(plan: EntityPlan, names: _Names, first: list[str]) -> list[str]:
    if names.in_table:
        return [
            f"    {', '.join(first)} = unpack_struct('{header_format(plan)}', v)",
            f"    w = {{unpack_struct('<{totals_format(plan)}', v, {header_bytes(plan) + 1})}}",
        ]
    all_ = ", ".join([*first, *names.kept])
    return [f"    {all_} = unpack_struct('{header_format(plan)}{totals_format(plan)}', v)"]


def _values_lines(names: _Names) -> list[str]:
    """Cut the ordered values off the value's end."""
    if not names.orders:
        return []
    lines = [f"    local from = {names.start} + {names.counts[-1]} * {names.size}"]
    for order in names.orders:
        count = f"{names.ordered[order]} * {ORDERED_BYTES}"
        lines.append(f"    {names.values(order)} = sub(v, from, from - 1 + {count})")
        lines.append(f"    from = from + {count}")
    return lines


def _leave_lines(names: _Names, place: int) -> list[str]:
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


def _again_lines(names: _Names, slot: Slot, again: str, count: str) -> list[str]:
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


def _needed(names: _Names, slots: list[Slot]) -> tuple[Part, ...]:
    """The parts of an event up to the last one that some slots look at."""
    wanted = {names.number(slot.input) for slot in slots if slot.kind in NUMBER_KINDS}
    wanted |= {names.hash(slot.input) for slot in slots if slot.kind == SlotKind.DISTINCT}
    wanted |= {"bits" for slot in slots if slot.where}
    parts = record_parts(names.plan)
    last = max((k for k, part in enumerate(parts) if part.name in wanted), default=-1)
    return parts[: last + 1]


def _number_lines(names: _Names, window: Window, sign: str, r: str, again: list[str]) -> list[str]:
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


def _met_lines(plan: EntityPlan, names: _Names) -> list[str]:
    """Where each value of the event was met last, among the events remembered before it: `met0` for the hash g0."""
    wanted = dict.fromkeys(
        (slot.input, slot.where) for slot in plan.slots if slot.kind in (SlotKind.SEEN, SlotKind.DISTINCT)
    )
    lines = []
    for source, where in wanted:
        g, name = names.hash(source), _met(names, source, where)
        search = names.search(source, where, f"pack('<I4', {g})")
        found = f"{name} = {search} or {plan.rule.cap}"
        lines.append(f"  local {name} = {plan.rule.cap}")
        lines.append(f"  if {names.counts[-1]} > 0 and {g} ~= 0 then {filtered(plan, where, found)} end")
    return lines


def _met(names: _Names, source: Input | None, where: Filter | None) -> str:
    filter_ = "" if where is None else f"_{names.plan.filters.index(where)}"
    return f"met{names.hash(source)[1:]}{filter_}"


def _clean_lines(plan: EntityPlan, names: _Names) -> list[str]:
    """Count the events after the newest fraud that are older than the slot's lag: `clean0` for the first such slot."""
    wanted = [slot for slot in plan.slots if slot.kind == SlotKind.CLEAN]
    newest = f"l{label_columns(plan).index(Slot(SlotKind.FRAUD_NEWEST))}" if wanted else ""
    lines = []
    for k, slot in enumerate(wanted):
        lines += [
            f"  local clean{k} = NULL",
            f"  if {newest} ~= NULL then",
            f"    clean{k} = 0",
            f"    for p = {names.start}, {names.start - names.size} + {names.counts[-1]} * {names.size}, {names.size} do",
            "      local rt = unpack_struct('<I6', v, p)",
            f"      if rt <= {newest} then break end",
            f"      if rt <= t - {slot.window_ms} then clean{k} = clean{k} + 1 end",
            "    end",
            "  end",
        ]
    return lines


def _add_lines(names: _Names) -> list[str]:
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
                g, met = names.hash(slot.input), _met(names, slot.input, slot.where)
                lines.append(filtered(plan, slot.where, f"if {g} ~= 0 and {met} >= {count} then {step} end"))
        lines.append(f"{count} = {count} + 1")
    return [f"  {line}" for line in lines]


def _order_lines(names: _Names, *, past: bool) -> list[str]:
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
            f"  local rank{place} = NULL",
            f"  if {filled} > 0 then",
            f"    local k = ({filled} - 1) * {slot.rank}",
            "    local r = k % 1000",
            f"    rank{place} = unpack_struct('<i6', {values}, (k - r) / 1000 * 6 + 1{up})",
            "  end",
        ]
    return lines


def _slot_values(plan: EntityPlan, names: _Names, columns: list[str], before: list[str]) -> list[str]:
    """An expression per slot."""
    remembered = dict(zip(label_columns(plan), columns, strict=True))
    counts = {window.window_ms: count for window, count in zip(names.windows, names.counts, strict=True)}
    clean = [slot for slot in plan.slots if slot.kind == SlotKind.CLEAN]
    found = []
    for place, slot in enumerate(plan.slots):
        if slot.kind == SlotKind.CLOCK:
            found.append("t")
        elif slot.kind == SlotKind.PREVIOUS:
            found.append("previous")
        elif slot.kind == SlotKind.CARRIED and slot.input:
            found.append(before[plan.carried.index(slot.input)])
        elif slot.kind == SlotKind.CLEAN:
            found.append(f"clean{clean.index(slot)}")
        elif slot.kind in LABEL_KINDS:
            found.append(remembered[slot])
        elif slot.kind == SlotKind.COUNT and slot.where is None:
            found.append(counts[slot.window_ms])
        elif slot.kind == SlotKind.SEEN:
            met, last = _met(names, slot.input, None), names.counts[-1]
            time = f"unpack_struct('<I6', v, {names.start} + {met} * {names.size})"
            found.append(f"({met} < {last} - 1 and {time} or NULL)")
        elif slot.kind in ORDER_KINDS:
            found.append(f"rank{place}")
        else:
            found.append(names.totals[Slot(slot.kind, slot.window_ms, slot.input, slot.where)])
    return found

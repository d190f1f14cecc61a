"""The state function of an entity whose layout is a list: one packed value, see lists.py; its windows, see lua_totals.py."""

from fraud_core.features.layout import (
    header_bytes,
    header_format,
    label_columns,
    life_ms,
    record_parts,
)
from fraud_core.features.lists import COUNT_FORMAT, ORDERED_BYTES, TOTAL_FORMAT, totals_format
from fraud_core.features.lua_steps import argument_lines, filtered, label_lines, packed
from fraud_core.features.lua_totals import Names, add_lines, leave_lines, met_variable, order_lines
from fraud_core.features.plan import LABEL_KINDS, ORDER_KINDS, EntityPlan, Slot, SlotKind


def list_function(plan: EntityPlan) -> str:
    """Source of the function: of an entity's state and labels (keys) and the packed inputs, it returns packed slots."""
    names = Names(plan)
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
        *[line for place in range(len(names.windows)) for line in leave_lines(names, place)],
        f"    if previous <= t - {plan.rule.horizon_ms} then",
        f"      {', '.join(['previous', *before])} = {', '.join(['NULL'] * (1 + len(before)))}",
        "    end",
        "  end",
        "  seq = seq + 1",
        *label_lines(plan, "holds", columns),
        *_met_lines(plan, names),
        *_clean_lines(plan, names),
        *order_lines(names, past=True),
        *add_lines(names),
        *order_lines(names, past=False),
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


def _empty_lines(names: Names) -> list[str]:
    """Totals and ordered values of an entity that was never met."""
    empty, no_values = ", ".join(names.empty), ", ".join(repr("") for _ in names.orders)
    if names.in_tables:
        return [f"  local w, values, ranks = {{{empty}}}, {{{no_values}}}, {{}}"]
    lines = [f"  local {', '.join(names.kept)} = {empty}"]
    if names.orders:
        lines.append(f"  local {', '.join(names.values(order) for order in names.orders)} = {no_values}")
    return lines


def _read_lines(plan: EntityPlan, names: Names, first: list[str]) -> list[str]:
    if names.in_tables:
        return [
            f"    {', '.join(first)} = unpack_struct('{header_format(plan)}', v)",
            f"    w = {{unpack_struct('<{totals_format(plan)}', v, {header_bytes(plan) + 1})}}",
        ]
    all_ = ", ".join([*first, *names.kept])
    return [f"    {all_} = unpack_struct('{header_format(plan)}{totals_format(plan)}', v)"]


def _values_lines(names: Names) -> list[str]:
    """Cut the ordered values off the value's end."""
    if not names.orders:
        return []
    lines = [f"    local from = {names.start} + {names.counts[-1]} * {names.size}"]
    for order in names.orders:
        count = f"{names.ordered[order]} * {ORDERED_BYTES}"
        lines.append(f"    {names.values(order)} = sub(v, from, from - 1 + {count})")
        lines.append(f"    from = from + {count}")
    return lines


def _met_lines(plan: EntityPlan, names: Names) -> list[str]:
    """Where each value of the event was met last, among the events remembered before it: `met0` for the hash g0."""
    wanted = dict.fromkeys(
        (slot.input, slot.where) for slot in plan.slots if slot.kind in (SlotKind.SEEN, SlotKind.DISTINCT)
    )
    lines = []
    for source, where in wanted:
        g, name = names.hash(source), met_variable(names, source, where)
        search = names.search(source, where, f"pack('<I4', {g})")
        found = f"{name} = {search} or {plan.rule.cap}"
        lines.append(f"  local {name} = {plan.rule.cap}")
        lines.append(f"  if {names.counts[-1]} > 0 and {g} ~= 0 then {filtered(plan, where, found)} end")
    return lines


def _clean_lines(plan: EntityPlan, names: Names) -> list[str]:
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


def _slot_values(plan: EntityPlan, names: Names, columns: list[str], before: list[str]) -> list[str]:
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
            met, last = met_variable(names, slot.input, None), names.counts[-1]
            time = f"unpack_struct('<I6', v, {names.start} + {met} * {names.size})"
            found.append(f"({met} < {last} - 1 and {time} or NULL)")
        elif slot.kind in ORDER_KINDS:
            found.append(names.rank(place))
        else:
            found.append(names.totals[Slot(slot.kind, slot.window_ms, slot.input, slot.where)])
    return found

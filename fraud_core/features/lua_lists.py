"""The state function of an entity whose layout is a list: one packed value, a header and its newest events.

Windows are one walk back over the records, with a stop at each window's edge; an equal value is searched as bytes.
"""

from collections.abc import Iterable

from fraud_core.features.layout import (
    Part,
    header_bytes,
    header_format,
    label_columns,
    life_ms,
    reach_ms,
    record_bytes,
    record_parts,
)
from fraud_core.features.lua_steps import (
    argument_lines,
    empty_slots,
    filtered,
    label_lines,
    packed_slots,
)
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

_ROOM = 32
"""Numbers for which the table of an order statistic is laid out at once."""


def list_function(plan: EntityPlan) -> str:
    """Source of the function: of an entity's state and labels (keys) and the packed inputs, it returns packed slots."""
    size, header = record_bytes(plan), header_bytes(plan)
    carried = [f"k{k}" for k in range(len(plan.carried))]
    before = [f"was_{value}" for value in carried]
    columns = [f"l{place}" for place in range(len(label_columns(plan)))]
    labels = ["holds", *columns] if plan.has_labels else []
    parts = record_parts(plan)
    held = ["seq", "previous", *labels, *before]
    written = ["seq", "t", *labels, *carried, "t", *[part.name for part in parts]]
    lines = [
        "function(key, labels_key, packed, at)",
        *argument_lines(plan),
        "  local v = call('GET', key)",
        "  local n = 0",
        f"  local {', '.join(held)} = 0, NULL{', 0' * len(labels)}{', NULL' * len(before)}",
        "  if v then",
        f"    {', '.join(held)} = unpack_struct('{header_format(plan)}', v)",
        f"    n = (#v - {header}) / {size}",
        "    if previous > t then t = previous end",
        f"    if previous <= t - {plan.rule.horizon_ms} then",
        f"      {', '.join(['previous', *before])} = {', '.join(['NULL'] * (1 + len(before)))}",
        "    end",
        "  end",
        "  seq = seq + 1",
        empty_slots(plan, "seq"),
        f"  if n > {plan.rule.cap - 1} then n = {plan.rule.cap - 1} end",
        *label_lines(plan, "holds", columns),
        *_plain_lines(plan, columns),
        *_scan_lines(plan, size, header),
        *_seen_lines(plan, size, header),
        f"  local lim = t - {plan.rule.horizon_ms}",
        f"  while n > 0 and unpack_struct('<I6', v, {header + 1} + (n - 1) * {size}) <= lim do n = n - 1 end",
        f"  local head = pack('{header_format(plan)}<I6{_formats(parts)}', {', '.join(written)})",
        f"  if n > 0 then head = head .. sub(v, {header + 1}, {header} + n * {size}) end",
        f"  call('SET', key, head, 'EX', {life_ms(plan.rule) // 1000})",
        packed_slots(plan),
        "end",
    ]
    return "\n".join(lines)


def _formats(parts: Iterable[Part]) -> str:
    return "".join(part.format for part in parts)


def _plain_lines(plan: EntityPlan, columns: list[str]) -> list[str]:
    """Slots that need no scan."""
    remembered = dict(zip(label_columns(plan), columns, strict=True))
    lines = []
    for k, slot in enumerate(plan.slots):
        if slot.kind == SlotKind.CLOCK:
            lines.append(f"  out[{k + 2}] = t")
        elif slot.kind == SlotKind.PREVIOUS:
            lines.append(f"  out[{k + 2}] = previous")
        elif slot.kind == SlotKind.CARRIED and slot.input:
            lines.append(f"  out[{k + 2}] = was_k{plan.carried.index(slot.input)}")
        elif slot.kind in LABEL_KINDS and slot.kind != SlotKind.CLEAN:
            lines.append(f"  out[{k + 2}] = {remembered[slot]}")
    if plan.has_labels:
        lines.append(f"  local newest = {remembered[Slot(SlotKind.FRAUD_NEWEST)]}")
    return lines


def _seen_lines(plan: EntityPlan, size: int, header: int) -> list[str]:
    """The newest earlier record with the same value: its bytes at its place in a record, newest records first."""
    lines = []
    for k, slot in enumerate(plan.slots):
        if slot.kind != SlotKind.SEEN or slot.input is None:
            continue
        g = f"g{plan.hashes.index(slot.input)}"
        offset = 6
        for part in record_parts(plan):
            if part.name == g:
                break
            offset += part.bytes
        lines += [
            f"  out[{k + 2}] = NULL",
            f"  if n > 0 and {g} ~= 0 then",
            f"    local wanted, p = pack('<I4', {g}), {header + 1 + offset}",
            "    while true do",
            "      p = find(v, wanted, p, true)",
            "      if not p then break end",
            f"      local at = p - {header + 1 + offset}",
            f"      if at % {size} == 0 then",
            f"        if at < n * {size} then",
            f"          local rt = unpack_struct('<I6', v, {header + 1} + at)",
            f"          if rt > t - {plan.rule.horizon_ms} then out[{k + 2}] = rt end",
            "        end",
            "        break",
            "      end",
            "      p = p + 1",
            "    end",
            "  end",
        ]
    return lines


def _scan_lines(plan: EntityPlan, size: int, header: int) -> list[str]:
    """The windows, shortest first: one walk over the records, newest first, with a stop at each window's edge."""
    scanned = {k + 2: slot for k, slot in enumerate(plan.slots) if reach_ms(slot, plan)}
    if not scanned:
        return []
    measures = list(dict.fromkeys(_measure(slot) for slot in scanned.values()))
    lines = []
    for number, measure in enumerate(measures):
        lines.append(f"  local m{number} = {'NULL' if measure.kind == SlotKind.MAX else '0'}")
        if measure.kind in ORDER_KINDS:  # room for some, for growing costs more than they do
            lines.append(f"  local met{number} = {{{', '.join(['nil'] * min(_ROOM, plan.rule.cap))}}}")
        if measure.kind == SlotKind.DISTINCT:
            lines.append(f"  local met{number} = {{}}")
        if measure.kind == SlotKind.SQUARES_LOW:
            lines.append(f"  local pp{number}, pq{number} = 0, 0")
    lines += _add_lines(plan, measures, measures, current=True)
    lines.append(f"  local i, stop, edge = {header + 1}, {header + 1} + n * {size}")
    for window in sorted({reach_ms(slot, plan) for slot in scanned.values()}):
        still = {_measure(slot) for slot in scanned.values() if reach_ms(slot, plan) >= window}
        needed = [measure for measure in measures if measure in still]
        parts = [part for part in record_parts(plan) if part.window_ms >= window]
        names = ["rt", *[f"r{part.name}" for part in parts]]
        lines += [
            f"  edge = t - {window}",
            "  while i < stop do",
            f"    local {', '.join(names)} = unpack_struct('<I6{_formats(parts)}', v, i)",
            "    if rt <= edge then break end",
            *["  " + line for line in _add_lines(plan, measures, needed, current=False)],
            f"    i = i + {size}",
            "  end",
        ]
        ordered: set[int] = set()
        for place, slot in scanned.items():
            if reach_ms(slot, plan) == window:
                number = measures.index(_measure(slot))
                lines += _answer_lines(slot, place, number, size, header, sorted_already=number in ordered)
                ordered |= {number} if slot.kind in ORDER_KINDS else set()
    return lines


def _answer_lines(
    slot: Slot, place: int, number: int, size: int, header: int, *, sorted_already: bool
) -> list[str]:
    if slot.kind == SlotKind.CLEAN:
        return [f"  out[{place}] = newest ~= NULL and m{number} or NULL"]
    if slot.kind == SlotKind.COUNT and slot.where is None:
        return [f"  out[{place}] = (i - {header + 1}) / {size} + 1"]
    if slot.kind in (SlotKind.SQUARES_HIGH, SlotKind.SQUARES_LOW):
        low = f"local c = 2 * pq{number}; local r = c % 1048576; local low = r * 1048576 + m{number}; "
        rest = f"local rest = low % {2**LIMB_BITS}; "
        if slot.kind == SlotKind.SQUARES_LOW:
            return [f"  do {low}{rest}out[{place}] = rest end"]
        high = f"pp{number} + (c - r) / 1048576 + (low - rest) / {2**LIMB_BITS}"
        return [f"  do {low}{rest}out[{place}] = {high} end"]
    if slot.kind not in ORDER_KINDS:
        return [f"  out[{place}] = m{number}"]
    up = " + (r > 0 and 1 or 0)" if slot.kind == SlotKind.ORDER_HIGH else ""
    return [
        *([] if sorted_already else [f"  sort(met{number})"]),
        f"  out[{place}] = NULL",
        f"  if m{number} > 0 then",
        f"    local k = (m{number} - 1) * {slot.rank}",
        "    local r = k % 1000",
        f"    out[{place}] = met{number}[(k - r) / 1000 + 1{up}]",
        "  end",
    ]


def _measure(slot: Slot) -> Slot:
    """What is accumulated, whatever the window; CLEAN keeps its window, which is a part of the question."""
    if slot.kind == SlotKind.CLEAN:
        return slot
    kind = {SlotKind.ORDER_HIGH: SlotKind.ORDER_LOW, SlotKind.SQUARES_HIGH: SlotKind.SQUARES_LOW}.get(
        slot.kind
    )
    return Slot(kind or slot.kind, 0, slot.input, slot.where, past=slot.past)


def _add_lines(plan: EntityPlan, measures: list[Slot], needed: list[Slot], *, current: bool) -> list[str]:
    """Add one event, the current one or a record, to the measures; measures of one number share its null check."""
    r = "" if current else "r"
    lines = []
    by_number: dict[tuple[Filter | None, Input], dict[SlotKind, list[str]]] = {}
    for measure in needed:
        m = str(measures.index(measure))
        if measure.kind in NUMBER_KINDS and measure.input:
            if not (current and measure.past):
                totals = by_number.setdefault((measure.where, measure.input), {})
                totals.setdefault(measure.kind, []).append(m)
        elif step := _step(plan, measure, m, r):
            lines.append(filtered(plan, measure.where, step, f"{r}bits"))
    for (where, source), totals in by_number.items():
        x = f"{r}x{plan.numbers.index(source)}"
        lines.append(filtered(plan, where, f"if {x} ~= NULL then {_number_steps(totals, x)} end", f"{r}bits"))
    return [f"  {line}" for line in lines]


def _step(plan: EntityPlan, measure: Slot, m: str, r: str) -> str:
    """Add one event to a measure of no number; CLEAN looks at earlier events only."""
    if measure.kind == SlotKind.COUNT:  # all events are counted by how far the walk came
        return f"m{m} = m{m} + 1" if measure.where else ""
    if measure.kind == SlotKind.CLEAN:
        lag = measure.window_ms
        return r and f"if newest ~= NULL and rt > newest and rt <= t - {lag} then m{m} = m{m} + 1 end"
    assert measure.input is not None
    g = f"{r}g{plan.hashes.index(measure.input)}"
    return f"if {g} ~= 0 and not met{m}[{g}] then met{m}[{g}] = true; m{m} = m{m} + 1 end"


def _number_steps(totals: dict[SlotKind, list[str]], x: str) -> str:
    steps = [f"m{m} = m{m} + 1" for m in totals.get(SlotKind.FILLED, [])]
    steps += [f"m{m} = m{m} + {x}" for m in totals.get(SlotKind.SUM, [])]
    steps += [f"if {x} > m{m} then m{m} = {x} end" for m in totals.get(SlotKind.MAX, [])]
    steps += [f"m{m} = m{m} + 1; met{m}[m{m}] = {x}" for m in totals.get(SlotKind.ORDER_LOW, [])]
    for m in totals.get(
        SlotKind.SQUARES_LOW, []
    ):  # x = p · 2^20 + q; sums of p², pq and q², see _answer_lines
        steps.append(
            f"if {x} >= 0 and {x} < 1048576 then m{m} = m{m} + {x} * {x} else "
            f"local q = {x} % 1048576; local p = ({x} - q) / 1048576; "
            f"pp{m} = pp{m} + p * p; pq{m} = pq{m} + p * q; m{m} = m{m} + q * q end"
        )
    return "; ".join(steps)

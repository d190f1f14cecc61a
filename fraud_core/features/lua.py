"""The online twin: state functions for Valkey/Redis, generated from the same layout as the offline fold.

One library per state hash, one function per entity: it reads the entity's state, label effects and the stored
answer of this event if it came before; folds the event in; stores state and answer; returns the slots as packed
64-bit integers (seq first). Lua's numbers are doubles, so nothing here may leave the integers below 2^53.
"""

from collections.abc import Collection, Iterable

from fraud_core.features.layout import (
    LABEL_BYTES,
    LABEL_FORMAT,
    Part,
    header_bytes,
    life_ms,
    reach_ms,
    record_bytes,
    record_parts,
)
from fraud_core.features.lua_read import with_reader
from fraud_core.features.plan import (
    LABEL_CAP,
    LABEL_KINDS,
    NULL,
    NUMBER_KINDS,
    EntityPlan,
    Filter,
    Input,
    Slot,
    SlotKind,
)

_PRELUDE = """#!lua name={library}
-- FUNCTION LOAD runs in a bare environment: the libraries are bound at the first call.
local NULL = {null}
local call, pack, unpack_struct, unpack_table, floor, sub, concat, sort, band
local function bind()
  call, pack, unpack_struct, unpack_table = redis.call, struct.pack, struct.unpack, unpack
  floor, sub, concat, sort, band = math.floor, string.sub, table.concat, table.sort, bit.band
end
"""

_LABELS = """
-- Merge label effects into an entity's list. KEYS: state, labels. ARGV: records, TTL s.
-- Returns: added, added after the clock had passed them (each a parity exception).
redis.register_function('labels_{hash}', function(keys, a)
  if not pack then bind() end
  local state, old = call('GET', keys[1]), call('GET', keys[2]) or ''
  local clock = 0
  if state then clock = unpack_struct('<I6', state, 7) end
  local all, known = {{}}, {{}}
  local function take(list, fresh)
    for p = 1, #list, {size} do
      local effect, event, hash, rank = unpack_struct('{format}', list, p)
      local id = effect .. ':' .. event .. ':' .. hash .. ':' .. rank
      if not known[id] then
        known[id] = true
        all[#all + 1] = {{effect, event, hash, rank, sub(list, p, p + {size} - 1), fresh}}
      end
    end
  end
  take(old, false)
  take(a[1], true)
  sort(all, function(l, r)
    for k = 1, 4 do if l[k] ~= r[k] then return l[k] < r[k] end end
    return false
  end)
  local passed = 0
  for k = 1, #all do if all[k][1] <= clock then passed = k end end
  local kept, added, late = {{}}, 0, 0
  for k = 1, #all do
    local e = all[k]
    if e[6] then
      added = added + 1
      if e[1] <= clock then late = late + 1 end
    end
    -- the others are pushed out by the cap for good, for clocks never go back
    if k > passed - {cap} then kept[#kept + 1] = e[5] end
  end
  call('SET', keys[2], concat(kept), 'EX', a[2])
  return {{added, late}}
end)
"""


def library_name(state_hash: str) -> str:
    """Name of the function library of one state layout."""
    return f"spearhead_{state_hash}"


def function_name(state_hash: str, entity: str) -> str:
    """Name of the state function of one entity."""
    return f"apply_{state_hash}_{entity}"


def labels_function_name(state_hash: str) -> str:
    """Name of the function that merges label effects."""
    return f"labels_{state_hash}"


def library(plans: Collection[EntityPlan], state_hash: str, answer_ttl_s: int) -> str:
    """Source of the whole library, for FUNCTION LOAD."""
    parts = [_PRELUDE.format(library=library_name(state_hash), null=NULL)]
    parts += [
        _entity_function(plan, function_name(state_hash, plan.rule.name), answer_ttl_s) for plan in plans
    ]
    parts.append(_LABELS.format(hash=state_hash, size=LABEL_BYTES, format=LABEL_FORMAT, cap=LABEL_CAP))
    functions = {plan.rule.name: function_name(state_hash, plan.rule.name) for plan in plans}
    return with_reader("\n".join(parts), state_hash, functions)


def _entity_function(plan: EntityPlan, name: str, answer_ttl_s: int) -> str:
    size, offset = record_bytes(plan), header_bytes(plan) + 1 - record_bytes(plan)
    carried = [f"k{k}" for k in range(len(plan.carried))]
    before = [f"was_{value}" for value in carried]
    given = [f"x{k}" for k in range(len(plan.numbers))] + [f"g{k}" for k in range(len(plan.hashes))] + carried
    header_format = "<I6I6" + "i6" * len(carried)
    parts = record_parts(plan)
    lines = [
        f"-- {plan.rule.name}. KEYS: state, answer of this event, labels. ARGV: packed inputs.",
        f"redis.register_function('{name}', function(keys, a)",
        "  if not pack then bind() end",
        "  local answer = call('GET', keys[2])",
        "  if answer then return answer end",
        "  local v = call('GET', keys[1])",
        f"  local {', '.join(['t', *given, 'bits'])} = unpack_struct('<{'i8' * (len(given) + 2)}', a[1])",
        *[f"  if g{k} == NULL then g{k} = 0 end" for k in range(len(plan.hashes))],
        "  local seq, previous, n = 0, NULL, 0",
        *([f"  local {', '.join(before)} = {', '.join(['NULL'] * len(before))}"] if before else []),
        "  if v then",
        f"    {', '.join(['seq', 'previous', *before])} = unpack_struct('{header_format}', v)",
        f"    n = (#v - {header_bytes(plan)}) / {size}",
        "    if previous > t then t = previous end",
        f"    if previous <= t - {plan.rule.horizon_ms} then",
        f"      {', '.join(['previous', *before])} = {', '.join(['NULL'] * (1 + len(before)))}",
        "    end",
        "  end",
        "  seq = seq + 1",
        "  local out = {seq}",
        f"  local first = n - {plan.rule.cap - 2}",
        "  if first < 1 then first = 1 end",
        *_label_lines(plan),
        *_scan_lines(plan, size, offset),
        *_plain_lines(plan),
        f"  local lim = t - {plan.rule.horizon_ms}",
        f"  while first <= n and unpack_struct('<I6', v, {offset} + first * {size}) <= lim do first = first + 1 end",
        f"  local body = first <= n and sub(v, {offset} + first * {size}) or ''",
        f"  local head = pack('{header_format}', {', '.join(['seq', 't', *carried])})",
        f"  local tail = pack('<I6{_formats(parts)}', {', '.join(['t', *[part.name for part in parts]])})",
        f"  call('SET', keys[1], head .. body .. tail, 'EX', {life_ms(plan.rule) // 1000})",
        f"  answer = pack('<{'i8' * (len(plan.slots) + 1)}', unpack_table(out, 1, {len(plan.slots) + 1}))",
        f"  call('SET', keys[2], answer, 'EX', {answer_ttl_s})",
        "  return answer",
        "end)",
    ]
    return "\n".join(lines) + "\n"


def _formats(parts: Iterable[Part]) -> str:
    return "".join(part.format for part in parts)


def _plain_lines(plan: EntityPlan) -> list[str]:
    """Slots that need no scan."""
    values = {SlotKind.CLOCK: "t", SlotKind.PREVIOUS: "previous"}
    lines = [
        f"  out[{k + 2}] = {values[slot.kind]}" for k, slot in enumerate(plan.slots) if slot.kind in values
    ]
    for k, slot in enumerate(plan.slots):
        if slot.kind == SlotKind.CARRIED and slot.input:
            lines.append(f"  out[{k + 2}] = was_k{plan.carried.index(slot.input)}")
    return lines


def _label_lines(plan: EntityPlan) -> list[str]:
    """Effects in force, newest first; the first one met of an event is its latest."""
    if not plan.has_labels:
        return []
    places = {k + 2: slot for k, slot in enumerate(plan.slots) if slot.kind in LABEL_KINDS}
    lines = ["  local newest, labels = NULL, call('GET', keys[3])"]
    for place, slot in places.items():
        lines.append(f"  out[{place}] = {'0' if slot.kind == SlotKind.FRAUDS else 'NULL'}")
    start = LABEL_BYTES - 1
    lines += [
        "  if labels then",
        f"    local m = #labels / {LABEL_BYTES}",
        f"    while m > 0 and unpack_struct('<I6', labels, m * {LABEL_BYTES} - {start}) > t do m = m - 1 end",
        "    local met = {}",
        f"    for j = m, m > {LABEL_CAP} and m - {LABEL_CAP - 1} or 1, -1 do",
        f"      local _, event, hash, rank = unpack_struct('{LABEL_FORMAT}', labels, j * {LABEL_BYTES} - {start})",
        "      local fraud = rank % 2 == 0",
        "      local stands = fraud and not met[hash]",
        "      met[hash] = true",
        f"      if event <= t and event > t - {plan.rule.horizon_ms} then",
        "        if stands and event > newest then newest = event end",
    ]
    for place, slot in places.items():
        if slot.kind == SlotKind.FRAUDS:
            lines.append(
                f"        if event > t - {slot.window_ms} then out[{place}] = out[{place}] + (fraud and 1 or -1) end"
            )
        elif slot.kind == SlotKind.FRAUD_OLDEST:
            lines.append(
                f"        if stands and event > t - {slot.window_ms} and (out[{place}] == NULL or "
                f"event < out[{place}]) then out[{place}] = event end"
            )
    lines += ["      end", "    end", "  end"]
    lines += [f"  out[{k}] = newest" for k, slot in places.items() if slot.kind == SlotKind.FRAUD_NEWEST]
    return lines


def _scan_lines(plan: EntityPlan, size: int, offset: int) -> list[str]:
    """The windows, shortest first: one walk back over the records, with a stop at each window's edge."""
    scanned = {k + 2: slot for k, slot in enumerate(plan.slots) if reach_ms(slot, plan)}
    if not scanned:
        return []
    measures = list(dict.fromkeys(_measure(slot) for slot in scanned.values()))
    lines = []
    for number, measure in enumerate(measures):
        start = "NULL" if measure.kind in (SlotKind.MAX, SlotKind.SEEN) else "0"
        lines.append(f"  local m{number} = {start}")
        if measure.kind == SlotKind.DISTINCT:
            lines.append(f"  local metm{number} = {{}}")
    lines += _add_lines(plan, measures, measures, current=True)
    lines.append("  local i = n")
    for window in sorted({reach_ms(slot, plan) for slot in scanned.values()}):
        still = {_measure(slot) for slot in scanned.values() if reach_ms(slot, plan) >= window}
        needed = [measure for measure in measures if measure in still]
        parts = [part for part in record_parts(plan) if part.window_ms >= window]
        names = ["rt", *[f"r{part.name}" for part in parts]]
        goes_on = "i >= first"
        if all(measure.kind == SlotKind.SEEN for measure in needed):
            open_ones = [
                f"(m{measures.index(measure)} == NULL and g{plan.hashes.index(measure.input)} ~= 0)"
                for measure in needed
                if measure.input
            ]
            goes_on += f" and ({' or '.join(open_ones)})"
        lines += [
            f"  while {goes_on} do",
            f"    local {', '.join(names)} = unpack_struct('<I6{_formats(parts)}', v, {offset} + i * {size})",
            f"    if rt <= t - {window} then break end",
            *["  " + line for line in _add_lines(plan, measures, needed, current=False)],
            "    i = i - 1",
            "  end",
        ]
        for place, slot in scanned.items():
            if reach_ms(slot, plan) == window:
                value = f"m{measures.index(_measure(slot))}"
                if slot.kind == SlotKind.CLEAN:
                    value = f"newest ~= NULL and {value} or NULL"
                lines.append(f"  out[{place}] = {value}")
    return lines


def _measure(slot: Slot) -> Slot:
    """What is accumulated, whatever the window; CLEAN keeps its window, which is a part of the question."""
    return slot if slot.kind == SlotKind.CLEAN else Slot(slot.kind, 0, slot.input, slot.where)


def _add_lines(plan: EntityPlan, measures: list[Slot], needed: list[Slot], *, current: bool) -> list[str]:
    """Add one event, the current one or a record, to the measures; measures of one number share its null check."""
    r = "" if current else "r"
    lines = []
    by_number: dict[tuple[Filter | None, Input], dict[SlotKind, str]] = {}
    for measure in needed:
        m = f"m{measures.index(measure)}"
        if measure.kind in NUMBER_KINDS and measure.input:
            by_number.setdefault((measure.where, measure.input), {})[measure.kind] = m
        elif step := _step(plan, measure, m, r):
            lines.append(_filtered(plan, measure.where, step, r))
    for (where, source), totals in by_number.items():
        x = f"{r}x{plan.numbers.index(source)}"
        lines.append(_filtered(plan, where, f"if {x} ~= NULL then {_number_steps(totals, x)} end", r))
    return [f"  {line}" for line in lines]


def _filtered(plan: EntityPlan, where: Filter | None, step: str, r: str) -> str:
    if where is None:
        return step
    return f"if band({r}bits, {1 << plan.filters.index(where)}) ~= 0 then {step} end"


def _step(plan: EntityPlan, measure: Slot, m: str, r: str) -> str:
    """Add one event to a measure of no number; SEEN and CLEAN look at earlier events only."""
    if measure.kind == SlotKind.COUNT:
        return f"{m} = {m} + 1"
    if measure.kind == SlotKind.CLEAN:
        lag = measure.window_ms
        return r and f"if newest ~= NULL and rt > newest and rt <= t - {lag} then {m} = {m} + 1 end"
    assert measure.input is not None
    g = f"g{plan.hashes.index(measure.input)}"
    if measure.kind == SlotKind.SEEN:
        return r and f"if {m} == NULL and r{g} == {g} and {g} ~= 0 then {m} = rt end"
    return f"if {r}{g} ~= 0 and not met{m}[{r}{g}] then met{m}[{r}{g}] = true; {m} = {m} + 1 end"


def _number_steps(totals: dict[SlotKind, str], x: str) -> str:
    steps = []
    if m := totals.get(SlotKind.FILLED):
        steps.append(f"{m} = {m} + 1")
    if m := totals.get(SlotKind.SUM):
        steps.append(f"{m} = {m} + {x}")
    if m := totals.get(SlotKind.MAX):
        steps.append(f"if {x} > {m} then {m} = {x} end")
    high, low = totals.get(SlotKind.SQUARES_HIGH), totals.get(SlotKind.SQUARES_LOW)
    if high or low:  # limbs of the square, see plan.LIMB
        steps.append(
            f"local s = {x} < 0 and -{x} or {x}; local p = floor(s / 1048576); local q = s - p * 1048576; "
            "local c = 2 * p * q; local h = floor(c / 1048576)"
        )
    if high:
        steps.append(f"{high} = {high} + p * p + h")
    if low:
        steps.append(f"{low} = {low} + (c - h * 1048576) * 1048576 + q * q")
    return "; ".join(steps)

"""Pieces of generated Lua that both layouts share: inputs, filters, limbs of squares, label effects in force."""

from collections.abc import Sequence

from fraud_core.features.layout import FOREVER_MS, LABEL_BYTES, LABEL_FORMAT, label_columns
from fraud_core.features.lists import record_parts
from fraud_core.features.plan import EntityPlan, Filter, SlotKind

_ARGUMENTS = 60


def argument_lines(plan: EntityPlan) -> list[str]:
    """The event's inputs as locals, from place `at` of what was sent; a cell that is none is -1."""
    parts = record_parts(plan)
    names = [part.what if part.what in ("t", "bits") else part.name for part in parts]
    formats = "".join(f"{'i' if part.signed else 'I'}{part.bytes}" for part in parts)
    return [
        f"  local {', '.join(names)} = unpack_struct('<{formats}', packed, at)",
        *[f"  c{k} = c{k} - 1" for k in range(len(plan.cells))],
    ]


def packed(formats: Sequence[str], values: Sequence[str]) -> str:
    """An expression: the values as bytes, some at a time, for a function has room for 250 values."""
    parts = []
    for start in range(0, len(values), _ARGUMENTS):
        some = slice(start, start + _ARGUMENTS)
        parts.append(f"pack('<{''.join(formats[some])}', {', '.join(values[some])})")
    return " .. ".join(parts)


def filtered(plan: EntityPlan, where: Filter | None, step: str, bits: str = "bits") -> str:
    """A step that is taken only when the event passes the filter."""
    if where is None:
        return step
    return f"if band({bits}, {1 << plan.filters.index(where)}) ~= 0 then {step} end"


def square_limbs(x: str) -> str:
    """Locals `high` and `low`: x² in limbs of 2^40."""
    return (
        f"local high, low = 0, {x} * {x}; if {x} < 0 or {x} >= 1048576 then local q = {x} % 1048576; "
        f"local p = ({x} - q) / 1048576; local c = 2 * p * q; local r = c % 1048576; "
        "high, low = p * p + (c - r) / 1048576, r * 1048576 + q * q end"
    )


def label_lines(plan: EntityPlan, until: str, columns: list[str]) -> list[str]:
    """Work out the label columns anew where they no longer hold.

    until, columns: the Lua variables. Effects are read newest first; the first one met of an event is its latest.
    """
    if not plan.has_labels:
        return []
    slots = dict(zip(columns, label_columns(plan), strict=True))
    start, cap, horizon = LABEL_BYTES - 1, plan.rule.label_cap, plan.rule.horizon_ms
    lines = [
        f"  if {until} <= t then",
        f"    {until} = {FOREVER_MS}",
        *[f"    {name} = {'0' if slot.kind == SlotKind.FRAUDS else 'NULL'}" for name, slot in slots.items()],
        "    local labels = call('GET', labels_key)",
        f"    local m = labels and #labels / {LABEL_BYTES} or 0",
        "    while m > 0 do",
        f"      local effect = unpack_struct('<I6', labels, m * {LABEL_BYTES} - {start})",
        "      if effect <= t then break end",
        f"      {until} = effect",
        "      m = m - 1",
        "    end",
        "    local met = {}",
        f"    for j = m, m > {cap} and m - {cap - 1} or 1, -1 do",
        f"      local _, event, hash, rank = unpack_struct('{LABEL_FORMAT}', labels, j * {LABEL_BYTES} - {start})",
        "      local fraud = rank % 2 == 0",
        "      local stands = fraud and not met[hash]",
        "      met[hash] = true",
        "      if event > t then",
        f"        if event < {until} then {until} = event end",
        f"      elseif event > t - {horizon} then",
        f"        if event + {horizon} < {until} then {until} = event + {horizon} end",
    ]
    for name, slot in slots.items():
        if slot.kind == SlotKind.FRAUD_NEWEST:
            lines.append(f"        if stands and event > {name} then {name} = event end")
            continue
        step = f"{name} = {name} + (fraud and 1 or -1)"
        if slot.kind == SlotKind.FRAUD_OLDEST:
            step = f"if stands and ({name} == NULL or event < {name}) then {name} = event end"
        leaves = f"event + {slot.window_ms}"
        lines.append(
            f"        if event > t - {slot.window_ms} then {step}; if {leaves} < {until} then {until} = {leaves} end end"
        )
    return [*lines, "      end", "    end", "  end"]


def bucket(width: int, time: str = "t") -> str:
    """An expression: the number of the bucket of a time."""
    return f"({time} - {time} % {width}) / {width}"

"""Generated Lua for the cells of sketches, which count different values: one byte a cell, the bucket that met it last."""

from fraud_core.features.lua_steps import bucket, filtered
from fraud_core.features.plan import SKETCH_CELLS, SKETCH_DIGIT, SKETCH_DIGITS, EntityPlan
from fraud_core.features.rings import SKETCH_BYTES, STAMPS, SWEEP_EVERY, Ring, rings, sketches


def sweep_lines(plan: EntityPlan, number: int, ring: Ring, cells_at: int) -> list[str]:
    """Clear cells whose bucket left the window, before their stamp could pass for a newer one."""
    mine = [place for place, sketch in enumerate(sketches(plan)) if sketch.ring == number]
    if not mine:
        return []
    places = [cells_at + place * SKETCH_BYTES for place in mine]
    lines = [
        f"      if b - was >= {ring.buckets} then",  # all of them: unread, for it costs less
        "        local length = call('STRLEN', key)",
    ]
    for at in places:
        count = f"length - {at} < {SKETCH_BYTES} and length - {at} or {SKETCH_BYTES}"
        lines.append(f"        if length > {at} then call('SETRANGE', key, {at}, sub(zeros, 1, {count})) end")
    lines += [
        f"      elseif {bucket(SWEEP_EVERY, 'b')} > {bucket(SWEEP_EVERY, 'was')} then",
        "        local stale = {}",
        f"        for age = {ring.buckets}, {STAMPS - 1} do stale[char((b - age) % {STAMPS} + 1)] = '\\0' end",
    ]
    for at in places:
        lines += [
            f"        local cells = call('GETRANGE', key, {at}, {at + SKETCH_BYTES - 1})",
            "        local swept = gsub(cells, '[^%z]', stale)",
            f"        if swept ~= cells then call('SETRANGE', key, {at}, swept) end",
        ]
    return [*lines, "      end"]


def sketch_lines(  # noqa: PLR0917 (places of one sketch in a state)
    plan: EntityPlan, total: int, open_: int, offsets: list[int], number: int, cells_at: int
) -> list[str]:
    """Note that the event met its cell in the open bucket, where another bucket had met it last.

    total, open_: where part 0 of the sketch stands in the table of the header's values, over the window and in the open bucket.
    """
    sketch = sketches(plan)[number]
    ring = rings(plan)[sketch.ring]
    c = f"c{plan.cells.index(sketch.input)}"
    at = cells_at + number * SKETCH_BYTES
    first = offsets[sketch.ring] + ring.part_offset(sketch.first)
    body = [
        f"local b = {bucket(ring.width_ms)}",
        f"local stamp, level = b % {STAMPS} + 1, ({c} - {c} % {SKETCH_CELLS}) / {SKETCH_CELLS}",
        f"local old = b - {bucket(ring.width_ms, 'previous')} < {ring.buckets}",  # else all were cleared just now
        f"  and byte(call('GETRANGE', key, {at} + {c}, {at} + {c})) or 0",
        "if old ~= stamp then",
        f"  local digit = level % {SKETCH_DIGITS}",
        f"  local part, one = (level - digit) / {SKETCH_DIGITS}, {SKETCH_DIGIT} ^ digit",
        f"  local age = (b - old + 1) % {STAMPS}",
        f"  if old ~= 0 and age < {ring.buckets} then",
        f"    local p = {first} + (b - age) % {ring.buckets} * {ring.bucket_bytes} + part * 6",
        "    local met = unpack_struct('<I6', call('GETRANGE', key, p, p + 5))",
        "    call('SETRANGE', key, p, pack('<I6', met - one))",
        f"    s[{total} + part] = s[{total} + part] - one",
        "  end",
        f"  call('SETRANGE', key, {at} + {c}, char(stamp))",
        f"  s[{total} + part] = s[{total} + part] + one",
        f"  s[{open_} + part] = s[{open_} + part] + one",
        "end",
    ]
    step = "\n    ".join(body)
    return [f"  {filtered(plan, sketch.where, f'if {c} >= 0 then {step} end')}"]

"""The state function of an entity whose layout is rings of buckets: one packed value, read and written in pieces.

The header holds each ring's totals and its open bucket; a bucket is written to its ring when the clock leaves it, and
taken off the totals when the window does. Behind the rings stand the cells of the sketches, one byte each: the bucket
that met the cell last, modulo STAMPS, from 1; 0 is none.
"""

from collections.abc import Collection

from fraud_core.features.layout import (
    REFRESH_EVENTS,
    header_format,
    label_columns,
    life_ms,
    refresh_ms,
)
from fraud_core.features.lua_sketches import sketch_lines, sweep_lines
from fraud_core.features.lua_steps import (
    argument_lines,
    bucket,
    filtered,
    label_lines,
    packed,
    square_limbs,
)
from fraud_core.features.plan import (
    LABEL_KINDS,
    LIMB_BITS,
    MAX_BIAS,
    SATURATION,
    EntityPlan,
    Slot,
    SlotKind,
)
from fraud_core.features.rings import (
    SKETCH_BYTES,
    Ring,
    measure_places,
    ring_offsets,
    rings,
    sketches,
    totals_format,
)


class _Places:
    """Where the header's values stand in the Lua table `s`."""

    def __init__(self, plan: EntityPlan) -> None:
        self.labels = len(label_columns(plan)) + plan.has_labels
        self.carried = 3 + self.labels
        at = self.carried + len(plan.carried)
        self.totals: list[int] = []
        self.opens: list[int] = []
        for ring in rings(plan):
            self.totals += range(at, at + len(ring.measures))
            at += len(ring.measures)
            self.opens += range(at, at + len(ring.measures))
            at += len(ring.measures)
        self.count = at - 1

    def empty(self, plan: EntityPlan) -> str:
        """The header of an entity that was never met."""
        first = ["0"] * (2 + self.labels) + ["NULL"] * len(plan.carried)
        return ", ".join([*first, *["0"] * (self.count - len(first))])


def ring_function(plan: EntityPlan) -> str:
    """Source of the function: of an entity's state and labels (keys), the packed event and the state's first bytes, which hold the
    header, it returns the event's seq, negative, and its slots, packed."""
    places = _Places(plan)
    format_ = header_format(plan) + totals_format(plan)
    offsets, cells_at = ring_offsets(plan)
    header = (offsets or [cells_at])[0]
    columns = [f"s[{4 + place}]" for place in range(len(label_columns(plan)))]
    carried = [f"s[{places.carried + place}]" for place in range(len(plan.carried))]
    slots = ["s[1]", *_slot_values(plan, places, columns)]
    lines = [
        "function(key, labels_key, packed, at, h)",
        *argument_lines(plan),
        "  local told = t",
        f"  local known = #h >= {header}",
        f"  local s = known and {{unpack_struct('{format_}', h)}} or {{{places.empty(plan)}}}",
        "  local previous = known and s[2] or NULL",
        "  local before = previous",
        "  if previous > t then t = previous end",
        *_advance_lines(plan, places, offsets, cells_at),
        f"  if previous <= t - {plan.rule.horizon_ms} then",
        "    previous = NULL",
        *[f"    {value} = NULL" for value in carried],
        "  end",
        "  s[1] = s[1] - 1",
        "  s[2] = t",
        *label_lines(plan, "s[3]", columns),
        *_carried_lines(carried),
        *_add_lines(plan, places),
        *[
            line
            for number, sketch in enumerate(sketches(plan))
            for line in sketch_lines(
                plan, places.totals[sketch.first], places.opens[sketch.first], offsets, number, cells_at
            )
        ],
        *_clean_answers(plan, offsets, columns),
        f"  call('SETRANGE', key, 0, pack('{format_}', unpack_table(s, 1, {places.count})))",
        *_life_lines(plan),
        f"  return {packed(['d'] * len(slots), slots)}",
        "end",
    ]
    return "\n".join(lines)


def _life_lines(plan: EntityPlan) -> list[str]:
    """Put off the end of the state's life, as often as `refresh_ms` says.

    By the event's own time, since a clock that ran ahead stands still; and now and then whatever the times say.
    """
    every = refresh_ms(plan.rule)
    return [
        f"  if {bucket(every, 'told')} ~= {bucket(every, 'before')} or -s[1] % {REFRESH_EVENTS} == 1 then",
        f"    call('EXPIRE', key, {life_ms(plan.rule) // 1000})",
        "  end",
    ]


def most_zeros(plans: Collection[EntityPlan]) -> int:
    """How many zeros a ring function writes at once."""
    sizes = [ring.buckets * ring.bucket_bytes for plan in plans for ring in rings(plan)]
    return max([SKETCH_BYTES, *sizes])


def _advance_lines(plan: EntityPlan, places: _Places, offsets: list[int], cells_at: int) -> list[str]:
    """Close the open bucket of each ring whose clock has left it, and take off what leaves the window."""
    if not offsets:
        return []
    lines = ["  if known then"]
    for number, ring in enumerate(rings(plan)):
        opens = [f"s[{places.opens[ring.first + k]}]" for k in range(len(ring.measures))]
        totals = [f"s[{places.totals[ring.first + k]}]" for k in range(len(ring.measures))]
        zeros = ", ".join(["0"] * len(opens))
        lines += [
            "    do",  # a block per ring, for a function has room for 200 locals
            f"    local b, was = {bucket(ring.width_ms)}, {bucket(ring.width_ms, 'previous')}",
            "    if b > was then",
            f"      if b - was >= {ring.buckets} then",
            *_empty_lines(ring, offsets[number], opens, totals),
            *[f"        {total} = 0" for total in totals],
            "      else",
            *_slide_lines(ring, offsets[number], opens, totals),
            "      end",
            f"      {', '.join(opens)} = {zeros}",
            *sweep_lines(plan, number, ring, cells_at),
            "    end",
            "    end",
        ]
    return [*lines, "  end"]


def _empty_lines(ring: Ring, offset: int, opens: list[str], totals: list[str]) -> list[str]:
    """Clear the ring, unless all that its window holds is in the open bucket."""
    counts = [k for k, slot in enumerate(ring.measures) if slot.kind == SlotKind.COUNT and slot.where is None]
    clear = f"call('SETRANGE', key, {offset}, sub(zeros, 1, {ring.buckets * ring.bucket_bytes}))"
    if not counts:
        return [f"        {clear}"]
    return [f"        if {totals[counts[0]]} ~= {opens[counts[0]]} then {clear} end"]


def _slide_lines(ring: Ring, offset: int, opens: list[str], totals: list[str]) -> list[str]:
    """Write the open bucket, clear those that pass without an event, and read what stood there a window ago."""
    size, n = ring.bucket_bytes, ring.buckets
    gone = [f"gone{k}" for k in range(len(opens))]
    largest = [k for k, slot in enumerate(ring.measures) if slot.kind == SlotKind.MAX]
    taken = [
        f"if gone{k} ~= 0 and gone{k} == {totals[k]} then redo{k} = true end"
        if k in largest
        else f"{totals[k]} = {totals[k]} - gone{k}"
        for k in range(len(opens))
    ]
    lines = [
        f"        local p, e = was % {n}, b % {n}",
        f"        local full = pack('<{ring.format}', {', '.join(opens)})",
        "        local left",
        "        if p < e then",
        f"          left = call('GETRANGE', key, {offset} + (p + 1) * {size}, {offset - 1} + (e + 1) * {size})",
        f"          call('SETRANGE', key, {offset} + p * {size}, full .. sub(zeros, 1, (e - p) * {size}))",
        "        else",
        f"          left = call('GETRANGE', key, {offset}, {offset - 1} + (e + 1) * {size})",
        f"          if p < {n - 1} then",
        f"            left = call('GETRANGE', key, {offset} + (p + 1) * {size}, {offset + n * size - 1}) .. left",
        "          end",
        f"          call('SETRANGE', key, {offset} + p * {size}, full .. sub(zeros, 1, ({n - 1} - p) * {size}))",
        f"          call('SETRANGE', key, {offset}, sub(zeros, 1, (e + 1) * {size}))",
        "        end",
        *[f"        local redo{k} = false" for k in largest],
        f"        for q = 1, #left, {size} do",
        f"          local {', '.join(gone)} = unpack_struct('<{ring.format}', left, q)",
        *[f"          {step}" for step in taken],
        "        end",
    ]
    for k in largest:
        lines += [
            f"        if redo{k} then",
            f"          {totals[k]} = 0",
            f"          local all = call('GETRANGE', key, {offset}, {offset + n * size - 1})",
            f"          for q = {1 + ring.part_offset(ring.first + k)}, #all, {size} do",
            "            local x = unpack_struct('<I6', all, q)",
            f"            if x > {totals[k]} then {totals[k]} = x end",
            "          end",
            "        end",
        ]
    return lines


def _carried_lines(carried: list[str]) -> list[str]:
    """Keep the previous event's values for the answer, then remember this one's."""
    lines = [f"  local was_k{place} = {value}" for place, value in enumerate(carried)]
    return lines + [f"  {value} = k{place}" for place, value in enumerate(carried)]


def _add_lines(plan: EntityPlan, places: _Places) -> list[str]:
    """Add the event to totals and open buckets."""
    lines = []
    for ring in rings(plan):
        for k, slot in enumerate(ring.measures):
            total, open_ = f"s[{places.totals[ring.first + k]}]", f"s[{places.opens[ring.first + k]}]"
            if slot.kind == SlotKind.COUNT:
                step = f"{total} = {total} + 1; {open_} = {open_} + 1"
            elif slot.input in plan.numbers and slot.kind != SlotKind.SQUARES_LOW:
                x = f"x{plan.numbers.index(slot.input)}"
                after = f"s[{places.totals[ring.first + k] + 1}]", f"s[{places.opens[ring.first + k] + 1}]"
                step = f"if {x} ~= NULL then {_number_step(slot, x, total, open_, after)} end"
            else:
                continue
            lines.append(f"  {filtered(plan, slot.where, step)}")
    return lines


def _number_step(slot: Slot, x: str, total: str, open_: str, after: tuple[str, str]) -> str:
    if slot.kind == SlotKind.FILLED:
        return f"{total} = {total} + 1; {open_} = {open_} + 1"
    if slot.kind == SlotKind.SUM:
        return (
            f"local grown = {open_} + {x}; if grown > {SATURATION} then grown = {SATURATION} elseif "
            f"grown < -{SATURATION} then grown = -{SATURATION} end; "
            f"{total} = {total} + grown - {open_}; {open_} = grown"
        )
    if slot.kind == SlotKind.MAX:
        return (
            f"local m = {x} + {MAX_BIAS}; if m > {total} then {total} = m end; "
            f"if m > {open_} then {open_} = m end"
        )
    total_low, open_low = after  # high limbs, followed by their low ones
    return (
        f"{square_limbs(x)}; low = low + {open_low}; local rest = low % {2**LIMB_BITS}; "
        f"high = high + (low - rest) / {2**LIMB_BITS} + {open_}; if high > {SATURATION} then high = {SATURATION} end; "
        f"{total} = {total} + high - {open_}; {total_low} = {total_low} + rest - {open_low}; "
        f"{open_}, {open_low} = high, rest"
    )


def _slot_values(plan: EntityPlan, places: _Places, columns: list[str]) -> list[str]:
    """An expression per slot."""
    measures = measure_places(plan)
    remembered = dict(zip(label_columns(plan), columns, strict=True))
    found = []
    for place, slot in enumerate(plan.slots):
        if slot.kind == SlotKind.CLOCK:
            found.append("t")
        elif slot.kind == SlotKind.PREVIOUS:
            found.append("previous")
        elif slot.kind == SlotKind.CARRIED and slot.input:
            found.append(f"was_k{plan.carried.index(slot.input)}")
        elif slot.kind == SlotKind.CLEAN:
            found.append(f"clean{place}")
        elif slot.kind in LABEL_KINDS:
            found.append(remembered[slot])
        elif slot.kind == SlotKind.MAX:
            total = f"s[{places.totals[measures[slot]]}]"
            found.append(f"({total} ~= 0 and {total} - {MAX_BIAS} or NULL)")
        else:
            found.append(f"s[{places.totals[measures[slot]]}]")
    return found


def _clean_answers(plan: EntityPlan, offsets: list[int], columns: list[str]) -> list[str]:
    """Events in the whole buckets after the fraud's own and before that of the moment `older_than` ago: `clean3` for slot 3."""
    wanted = [(place, slot) for place, slot in enumerate(plan.slots) if slot.kind == SlotKind.CLEAN]
    if not wanted:
        return []
    newest = columns[label_columns(plan).index(Slot(SlotKind.FRAUD_NEWEST))]
    number = next(number for number, ring in enumerate(rings(plan)) if ring.clean)
    ring, at = rings(plan)[number], offsets[number]
    n, size = ring.buckets, ring.bucket_bytes
    lines = []
    for place, slot in wanted:
        lines += [
            f"  local clean{place} = NULL",
            f"  if {newest} ~= NULL then",
            f"    local ago = t - {slot.window_ms}",
            f"    local after, before = {bucket(ring.width_ms, newest)}, {bucket(ring.width_ms, 'ago')}",
            f"    local oldest, clean = {bucket(ring.width_ms)} - {n}, 0",
            "    if after < oldest then after = oldest end",
            "    if before > after + 1 then",
            f"      local all = call('GETRANGE', key, {at}, {at + n * size - 1})",
            "      for b = after + 1, before - 1 do",
            f"        local q = b % {n} * {size} + 1",
            f"        if q < #all then clean = clean + unpack_struct('<{ring.format}', all, q) end",
            "      end",
            "    end",
            f"    clean{place} = clean",
            "  end",
        ]
    return lines

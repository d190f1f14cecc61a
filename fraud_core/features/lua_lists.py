"""The state function of a list: it appends the event, and hands over those before; see lists.py. Quiet rings are lists as well."""

from fraud_core.features.layout import LABEL_BYTES, life_ms, refresh_ms
from fraud_core.features.lists import (
    DROP_EVERY,
    LIST_BYTES,
    LIST_FORMAT,
    QUIET_EVENTS,
    REPEATED,
    SPARE_EVENTS,
    SPARE_MS,
    list_bytes,
    list_header,
    record_bytes,
)
from fraud_core.features.lua_rings import ring_function
from fraud_core.features.lua_steps import bucket
from fraud_core.features.plan import EntityPlan, Layout
from fraud_core.features.rings import header_and_totals_bytes


def list_function(plan: EntityPlan, answer_ttl_s: int) -> str:
    """Source of the function: of an entity's state and labels (keys) and an event, packed at a place, it returns the event's seq,
    packed, and the list as it was before."""
    size, rule = record_bytes(plan), plan.rule
    life_s, every = life_ms(rule) // 1000, refresh_ms(rule)
    quiet = rule.layout == Layout.BUCKETS
    nothing = lua_bytes(list_header(0, 0, 0))
    busy, crowded = (" and not full", " or full") if quiet else ("", "")
    fits = "" if quiet else f" and count < {rule.cap + SPARE_EVENTS}"
    lines = [
        f"  local record, v = sub(packed, at, at + {size - 1}), {_read(plan)}",
        *(
            _first_lines(plan)
            if quiet
            else ["  if not v then", f"    call('SET', key, {nothing} .. record, 'EX', {life_s})"]
        ),
        "    return pack('<d', 1), v or ''",
        "  end",
    ]
    if quiet:  # rings without windows and labels are shorter than a list's header
        lines.append(f"  if #v < {LIST_BYTES} then return rings(key, labels_key, packed, at, v) end")
    lines.append(f"  local dropped, clock, labels = unpack_struct('{LIST_FORMAT}', v)")
    if quiet:
        lines += [
            "  if dropped < 0 then return rings(key, labels_key, packed, at, v) end",
            "  if labels > 0 then v = call('GET', key) end",  # perhaps more than was read
        ]
    lines += [
        f"  local first = {LIST_BYTES + 1} + labels * {LABEL_BYTES}",
        f"  local count = (#v + 1 - first) / {size}",
        *([f"  local full = count >= {QUIET_EVENTS}"] if quiet else []),
        "  local seq = dropped + count + 1",
        "  local t, was = unpack_struct('<I6', record), -1",
        f"  if count > 0 then was = unpack_struct('<I6', v, #v - {size - 1}) end",
        f"  if seq % {DROP_EVERY} ~= 0 and {bucket(every)} == {bucket(every, 'was')}{busy} then",
        "    call('APPEND', key, record)",
        # Times that stand still reach no further stretch: by themselves they would let the state expire under them.
        f"    if t <= was then call('EXPIRE', key, {life_s}) end",
        "    return pack('<d', seq), v",
        "  end",
        "  local from, least = first, 0",
        "  if count > 0 then",
        f"    local seen = unpack_struct('<I6', v, count > {REPEATED} and #v - {REPEATED * size - 1} or first)",
        f"    least = (seen < t - {SPARE_MS} and seen or t - {SPARE_MS}) - {rule.horizon_ms}",
        "  end",
        f"  while count > 0 and (seq % {DROP_EVERY} == 0{crowded}) do",
        "    local reached = unpack_struct('<I6', v, from)",
        "    if reached < clock then reached = clock end",  # an event counts as of the clock, which may have run ahead
        f"    if reached > least{fits} then break end",
        f"    clock, from, dropped, count = reached, from + {size}, dropped + 1, count - 1",
        "  end",
        f"  local effects = sub(v, {LIST_BYTES + 1}, first - 1)",
    ]
    if quiet:
        lines += [f"  if count >= {QUIET_EVENTS} then", *_rings_lines(plan, answer_ttl_s), "  end"]
    lines += [
        f"  local kept = pack('{LIST_FORMAT}', dropped, clock, labels) .. effects .. sub(v, from)",
        f"  call('SET', key, kept .. record, 'EX', {life_s})",
        "  return pack('<d', seq), v",
        "end",
    ]
    if not quiet:
        return "\n".join(["function(key, labels_key, packed, at)", *lines])
    function = "\n".join(["return function(key, labels_key, packed, at)", *lines])
    return f"(function()\nlocal rings = {ring_function(plan)}\n{function}\nend)()"


def _read(plan: EntityPlan) -> str:
    """What tells a list from rings, all of a list without label effects, and what rings begin with."""
    if plan.rule.layout == Layout.LIST:
        return "call('GET', key)"
    return f"call('GETRANGE', key, 0, {_read_bytes(plan) - 1})"


def _read_bytes(plan: EntityPlan) -> int:
    return max(list_bytes(plan), header_and_totals_bytes(plan))


def _first_lines(plan: EntityPlan) -> list[str]:
    """The first event, after rings that have expired, too: their label effects have lives of their own."""
    return [
        "  if v == '' then",
        "    local effects = call('GET', labels_key) or ''",
        f"    v = pack('{LIST_FORMAT}', 0, 0, #effects / {LABEL_BYTES}) .. effects",
        f"    call('SET', key, v .. record, 'EX', {life_ms(plan.rule) // 1000})",
    ]


def _rings_lines(plan: EntityPlan, answer_ttl_s: int) -> list[str]:
    """Make rings of the list, by their own function over a copy, then apply the event to them; repeated calls still find the list."""
    size, life_s = record_bytes(plan), life_ms(plan.rule) // 1000
    return [
        "    local state = on_copy({[key] = false, [labels_key] = effects ~= '' and effects}, function(held)",
        f"      for p = from, #v, {size} do",
        "        local happened = unpack_struct('<I6', v, p)",
        "        if happened > clock then clock = happened end",
        f"        local event = pack('<I6', clock) .. sub(v, p + 6, p + {size - 1})",
        "        rings(key, labels_key, event, 1, held[key] or '')",
        "      end",
        "      return held[key]",
        "    end)",
        f"    call('SET', key .. ':q', v, 'EX', {answer_ttl_s})",
        "    state = pack('<i6', -dropped - count) .. sub(state, 7)",
        f"    call('SET', key, state, 'EX', {life_s})",
        f"    if effects ~= '' then call('SET', labels_key, effects, 'EX', {life_s}) end",
        f"    return rings(key, labels_key, packed, at, sub(state, 1, {_read_bytes(plan)}))",
    ]


def lua_bytes(value: bytes) -> str:
    """A string constant of Lua."""
    return "'" + "".join(f"\\{byte:03d}" for byte in value) + "'"

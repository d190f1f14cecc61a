"""The online twin: state functions for Valkey/Redis, generated from the same layout as the offline fold.

One library per state hash. A state function takes the stored answer of this event if it came before; else it folds the event
into the state, stores the answer, and returns it: packed doubles, seq first. That is all of a list, whose events are returned
beside the answer, for the client to fold; of rings, seq is negative and the slots follow. There is one per entity; where one server
holds all entities of an event, one call runs them all, which costs a seventh less, and on a cluster there is a call for each. Lua's
numbers are doubles, so nothing here may leave the integers below 2^53.
"""

import re
from collections.abc import Collection

from fraud_core.features.layout import LABEL_BYTES, LABEL_FORMAT, LABELS_VALID_AT
from fraud_core.features.lists import LIST_BYTES, LIST_FORMAT, list_header, record_bytes
from fraud_core.features.lua_lists import list_function, lua_bytes
from fraud_core.features.lua_read import ON_COPY, READER
from fraud_core.features.lua_rings import most_zeros
from fraud_core.features.plan import NULL, EntityPlan

_PRELUDE = """#!lua name={library}
-- FUNCTION LOAD runs in a bare environment: the libraries are bound at the first call.
local call, pack, unpack_struct, unpack_table, byte, char, gsub, rep, sub, concat, sort, band
local zeros  -- made once: string.rep appends piece by piece, and costs more than all else where a ring is cleared
local function bind()
  call, pack, unpack_struct, unpack_table = redis.call, struct.pack, struct.unpack, unpack
  byte, char, gsub, rep, sub = string.byte, string.char, string.gsub, string.rep, string.sub
  concat, sort, band = table.concat, table.sort, bit.band
  zeros = rep('\\0', {zeros})
end
-- By the entity's number: (state, labels: keys; packed event, where) -> its part of the answer, and of a list the value before;
-- bytes of an event; bytes of an answer from rings.
local folds, sizes, widths = {{}}, {{}}, {{}}
"""

_APPLY = """
-- A stored answer again, with the lists that it was given with as they are now, or were when they became rings.
local function repeated(answer, numbers, keys)
  local reply, at = {{answer}}, 1
  for k = 1, #numbers do
    if at + 7 > #answer then break end  -- it was given for other entities, as where there is no list
    if unpack_struct('<d', answer, at) < 0 then
      at = at + widths[byte(numbers, k)]
    else
      local value = call('GET', keys[k + 1])
      if value and unpack_struct('<i6', value) < 0 then value = call('GET', keys[k + 1] .. ':q') end
      if not value then break end
      reply[#reply + 1], at = value, at + 8
    end
  end
  return reply
end

-- KEYS: answer of this event, then the state of each entity; its labels' key follows from it, for each key and argument costs as
-- much as a command. ARGV: the entities' numbers, a byte each; packed events of all. Returns the answer, and the events of each list.
redis.register_function('{name}', function(keys, a)
  if not pack then bind() end
  local answer = call('GET', keys[1])
  local numbers, packed, at = a[1], a[2], 1
  if answer then return repeated(answer, numbers, keys) end
  local parts, reply = {{}}, {{''}}
  for k = 1, #numbers do
    local number, key, value = byte(numbers, k), keys[k + 1]
    parts[k], value = folds[number](key, key .. ':l', packed, at)
    if value then reply[#reply + 1] = value end
    at = at + sizes[number]
  end
  answer = concat(parts)
  reply[1] = answer
  call('SET', keys[1], answer, 'EX', {ttl_s})
  return reply
end)
"""

_LABELS = """
-- Merge the label effects `fresh` into `old`, of an entity whose clock is `clock` and of whose effects in force `cap` count.
-- Returns the effects, how many were added, and how many of these after the clock had passed them (parity exceptions).
local function merged(old, fresh, clock, cap)
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
  take(fresh, true)
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
    if k > passed - cap then kept[#kept + 1] = e[5] end
  end
  return concat(kept), added, late
end

-- KEYS: state, labels. ARGV: effects, TTL s, effects in force that count, bytes of an event. Returns: added, of these late.
redis.register_function('labels_{hash}', function(keys, a)
  if not pack then bind() end
  local head = call('GETRANGE', keys[1], 0, 11)
  if #head == 12 and unpack_struct('<i6', head) < 0 then
    call('SETRANGE', keys[1], {valid_at}, rep('\\0', 6))  -- what the header of rings says of labels holds no longer
    local clock = unpack_struct('<I6', head, 7)
    local kept, added, late = merged(call('GET', keys[2]) or '', a[1], clock, a[3])
    call('SET', keys[2], kept, 'EX', a[2])
    return {{added, late}}
  end
  local v = call('GET', keys[1])
  local old = not v and call('GET', keys[2]) or ''  -- of rings that have expired
  v = v or {no_events}
  local _, clock, labels = unpack_struct('{list_format}', v)
  local first = {first} + labels * {size}
  for p = first, #v, a[4] do
    local t = unpack_struct('<I6', v, p)
    if t > clock then clock = t end
  end
  local kept, added, late = merged(old .. sub(v, {first}, first - 1), a[1], clock, a[3])
  call('SET', keys[1], sub(v, 1, 12) .. pack('<I4', #kept / {size}) .. kept .. sub(v, first), 'EX', a[2])
  return {{added, late}}
end)
"""


def library_name(state_hash: str) -> str:
    """Name of the function library of one state layout."""
    return f"spearhead_{state_hash}"


def function_name(state_hash: str) -> str:
    """Name of the function that applies an event to its entities."""
    return f"apply_{state_hash}"


def labels_function_name(state_hash: str) -> str:
    """Name of the function that merges label effects."""
    return f"labels_{state_hash}"


def library(plans: Collection[EntityPlan], state_hash: str, answer_ttl_s: int) -> str:
    """Source of the whole library, for FUNCTION LOAD."""
    parts = [_PRELUDE.format(library=library_name(state_hash), zeros=most_zeros(plans)), ON_COPY]
    for number, plan in enumerate(plans):
        parts.append(f"folds[{number}] = {list_function(plan, answer_ttl_s)}")
        parts.append(f"sizes[{number}], widths[{number}] = {record_bytes(plan)}, {8 * (1 + len(plan.slots))}")
    parts.append(_APPLY.format(name=function_name(state_hash), ttl_s=answer_ttl_s))
    parts.append(
        _LABELS.format(
            hash=state_hash,
            size=LABEL_BYTES,
            format=LABEL_FORMAT,
            valid_at=LABELS_VALID_AT,
            no_events=lua_bytes(list_header(0, 0, 0)),
            list_format=LIST_FORMAT,
            first=LIST_BYTES + 1,
        )
    )
    parts.append(READER.format(hash=state_hash))
    return re.sub(r"\bNULL\b", str(NULL), "\n".join(parts))  # a constant is nearer than a variable

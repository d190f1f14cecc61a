"""The online twin: state functions for Valkey/Redis, generated from the same layout as the offline fold.

One library per state hash. A state function takes the stored answer of this event if it came before; else it reads
state and label effects, folds the event in, stores state and answer, and returns the slots as packed doubles
(seq first). There is one per entity, for clusters, where each entity may live elsewhere, and one for all entities of an
event at once, which costs the server a seventh less. Lua's numbers are doubles, so nothing here may leave the integers below 2^53.
"""

import re
from collections.abc import Collection

from fraud_core.features.layout import LABEL_BYTES, LABEL_FORMAT, LABELS_VALID_AT
from fraud_core.features.lua_lists import list_function
from fraud_core.features.lua_read import with_reader
from fraud_core.features.lua_rings import most_zeros, ring_function
from fraud_core.features.lua_steps import argument_bytes
from fraud_core.features.lua_totals import SEARCHES
from fraud_core.features.plan import NULL, EntityPlan, Layout

_PRELUDE = """#!lua name={library}
-- FUNCTION LOAD runs in a bare environment: the libraries are bound at the first call.
local call, pack, unpack_struct, unpack_table, byte, char, find, gsub, rep, sub, concat, sort, band
local zeros  -- made once: string.rep appends piece by piece, and costs more than all else where a ring is cleared
local function bind()
  call, pack, unpack_struct, unpack_table = redis.call, struct.pack, struct.unpack, unpack
  byte, char, find, gsub, rep, sub = string.byte, string.char, string.find, string.gsub, string.rep, string.sub
  concat, sort, band = table.concat, table.sort, bit.band
  zeros = rep('\\0', {zeros})
end
local folds, sizes = {{}}, {{}}  -- by the entity's number: state, labels (keys), packed inputs, where -> packed slots; bytes of its inputs
"""

_APPLY_ONE = """
-- {entity}. KEYS: state, answer of this event, labels. ARGV: packed inputs.
redis.register_function('{name}', function(keys, a)
  if not pack then bind() end
  local answer = call('GET', keys[2])
  if answer then return answer end
  answer = folds[{number}](keys[1], keys[3], a[1], 1)
  call('SET', keys[2], answer, 'EX', {ttl_s})
  return answer
end)
"""

_APPLY_ALL = """
-- All entities of an event, on one server. KEYS: answer of this event, then the state of each; its labels' key follows from
-- it, for each key and argument costs as much as a command. ARGV: the entities' numbers, a byte each; packed inputs of all.
redis.register_function('{name}', function(keys, a)
  if not pack then bind() end
  local answer = call('GET', keys[1])
  if answer then return answer end
  local parts, numbers, packed, at = {{}}, a[1], a[2], 1
  for k = 1, #numbers do
    local number, key = byte(numbers, k), keys[k + 1]
    parts[k] = folds[number](key, key .. ':l', packed, at)
    at = at + sizes[number]
  end
  answer = concat(parts)
  call('SET', keys[1], answer, 'EX', {ttl_s})
  return answer
end)
"""

_LABELS = """
-- Merge label effects into an entity's list. KEYS: state, labels. ARGV: records, TTL s, effects in force that count.
-- Returns: added, added after the clock had passed them (each a parity exception).
redis.register_function('labels_{hash}', function(keys, a)
  if not pack then bind() end
  local state, old = call('GETRANGE', keys[1], 0, 11), call('GET', keys[2]) or ''
  local clock = 0
  if #state == 12 then
    clock = unpack_struct('<I6', state, 7)
    call('SETRANGE', keys[1], {valid_at}, rep('\\0', 6))  -- what the header says of labels holds no longer
  end
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
    if k > passed - a[3] then kept[#kept + 1] = e[5] end
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


def event_function_name(state_hash: str) -> str:
    """Name of the state function of all entities of an event."""
    return f"apply_{state_hash}"


def labels_function_name(state_hash: str) -> str:
    """Name of the function that merges label effects."""
    return f"labels_{state_hash}"


def library(plans: Collection[EntityPlan], state_hash: str, answer_ttl_s: int) -> str:
    """Source of the whole library, for FUNCTION LOAD."""
    parts = [_PRELUDE.format(library=library_name(state_hash), zeros=most_zeros(plans)), SEARCHES]
    for number, plan in enumerate(plans):
        make = list_function if plan.rule.layout == Layout.LIST else ring_function
        parts.append(f"folds[{number}] = {make(plan)}\nsizes[{number}] = {argument_bytes(plan)}")
        name = function_name(state_hash, plan.rule.name)
        parts.append(_APPLY_ONE.format(entity=plan.rule.name, name=name, number=number, ttl_s=answer_ttl_s))
    parts.append(_APPLY_ALL.format(name=event_function_name(state_hash), ttl_s=answer_ttl_s))
    parts.append(
        _LABELS.format(hash=state_hash, size=LABEL_BYTES, format=LABEL_FORMAT, valid_at=LABELS_VALID_AT)
    )
    functions = {plan.rule.name: function_name(state_hash, plan.rule.name) for plan in plans}
    source = re.sub(r"\bNULL\b", str(NULL), "\n".join(parts))  # a constant is nearer than a variable
    return with_reader(source, state_hash, functions)

"""State functions over a copy of what they would write: to read rings without changing them, and to make rings of a list.

A second function that reads or makes the same bytes would be a third execution to keep in agreement. So the very function that
applies events is called, while `call` hands it the entity's keys as they are and keeps its writes in memory. To read, the event has
a time and nothing else. What it adds is its own count, in the windows that ask for nothing of an event, which
`StateCalls.decode_read` takes off again.
"""

ON_COPY = """
-- What `step` returns, which gets `held`: key -> value (false: none), what it writes included; other keys are read from the server.
local function on_copy(held, step)
  local function value(key)
    if held[key] == nil then held[key] = redis.call('GET', key) end
    return held[key]
  end
  call = function(name, key, from, to)
    if name == 'GET' then return value(key) end
    if name == 'GETRANGE' then return sub(value(key) or '', from + 1, to + 1) end
    if name == 'STRLEN' then return #(value(key) or '') end
    if name == 'SET' then held[key] = from end
    if name == 'SETRANGE' then
      local old = value(key) or ''
      if #old < from then old = old .. rep('\\0', from - #old) end
      held[key] = sub(old, 1, from) .. to .. sub(old, from + #to + 1)
    end
    return true
  end
  local fine, found = pcall(step, held)
  call = redis.call
  if not fine then error(found, 0) end
  return found
end
"""

READER = """
-- KEYS: state, labels. ARGV: the entity's number, a packed event that has a time alone. Returns a list as it is; of rings that
-- have met an event the first bytes of their header, and what the event finds.
redis.register_function{{
  function_name = 'read_{hash}',
  flags = {{'no-writes'}},
  callback = function(keys, a)
    if not pack then bind() end
    local v = call('GET', keys[1]) or ''
    if v == '' or unpack_struct('<i6', v) >= 0 then return {{v}} end
    return {{sub(v, 1, 12), on_copy({{[keys[1]] = v}}, function()
      return (folds[byte(a[1])](keys[1], keys[2], a[2], 1))
    end)}}
  end
}}
"""


def reader_name(state_hash: str) -> str:
    """Name of the function that reads entities whose layout is buckets."""
    return f"read_{state_hash}"

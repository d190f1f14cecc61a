"""Reading an entity's state without changing it: the state function itself, run over a copy of what it would write.

A second function that reads the same bytes would be a third execution to keep in agreement. So the very function that
applies events is called with an event that has a time and nothing else, while `call` hands it the entity's keys as they
are and keeps its writes in memory. What that event adds is its own count, in the windows that ask for nothing of an event,
which `StateCalls.decode_read` takes off again.
"""

_READER = """
-- KEYS: state, answer (of no event), labels. ARGV: the entity kind, packed inputs.
-- Returns: the first bytes of the state's header (none for an entity that was never met), and the slots.
redis.register_function{{
  function_name = 'read_{hash}',
  flags = {{'no-writes'}},
  callback = function(keys, a)
    if not pack then bind() end
    local head, held = redis.call('GETRANGE', keys[1], 0, 11), {{}}
    local function value(key)
      if held[key] == nil then held[key] = redis.call('GET', key) end
      return held[key]
    end
    call = function(name, key, from, to)
      if name == 'GET' then return value(key) end
      if name == 'GETRANGE' then return string.sub(value(key) or '', from + 1, to + 1) end
      if name == 'STRLEN' then return #(value(key) or '') end
      if name == 'SET' then held[key] = from end
      if name == 'SETRANGE' then
        local old = value(key) or ''
        if #old < from then old = old .. string.rep('\\0', from - #old) end
        held[key] = string.sub(old, 1, from) .. to .. string.sub(old, from + #to + 1)
      end
      if name == 'UNLINK' or name == 'DEL' then held[key] = false end
      return true
    end
    local fine, answer = pcall(applying[a[1]], keys, {{a[2]}})
    call = redis.call
    if not fine then error(answer) end
    return {{head, answer}}
  end
}}
"""

_REGISTER = """
local applying = {}
local function register(entity, name, apply)
  applying[entity] = apply
  redis.register_function(name, apply)
end
"""


def reader_name(state_hash: str) -> str:
    """Name of the function that reads any entity."""
    return f"read_{state_hash}"


def with_reader(source: str, state_hash: str, functions: dict[str, str]) -> str:
    """A library with the reader added. `functions`: entity kind to the name of its state function.

    The prelude of `source` must bind `call`, and its functions must use nothing else to reach the server.
    """
    first, _, rest = source.partition("\n")
    for entity, name in functions.items():
        rest = rest.replace(
            f"redis.register_function('{name}', function", f"register('{entity}', '{name}', function"
        )
    reader = _READER.format(hash=state_hash)
    return f"{first}{_REGISTER}{rest}\n{reader}"

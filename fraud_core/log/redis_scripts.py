"""What the log has a Redis server do in one step. All keys of a script carry one hash tag, so that a cluster keeps them together."""

from typing import Final

# Trims up to ARGV[1], but behind every registered reader, in one step: a reader that registers is seen or comes after.
TRIM: Final = """
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local lowest = ARGV[1]
local ms, seq = parts(lowest)
local readers = redis.call('HVALS', KEYS[2])
for _, position in ipairs(readers) do
  local m, s = parts(position)
  if m < ms or (m == ms and s < seq) then lowest, ms, seq = position, m, s end
end
return redis.call('XTRIM', KEYS[1], 'MINID', '=', lowest)
"""

# Moves a reader forward, never back, and keeps count: `passed` holds the entry that a reader has finished and how many
# events came up to it. A reader at the end has passed all there are, so that a count which went astray comes right there.
ADVANCE: Final = """
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local a, b = parts(known)
  local m, s = parts(ARGV[2])
  if m < a or (m == a and s <= b) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local count
if redis.call('EXISTS', KEYS[3]) == 1 then
  local info, last, added = redis.call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
  end
  if last == ARGV[2] then count = added + tonumber(redis.call('GET', KEYS[4]) or '0') end
end
if not count and ARGV[3] ~= '' then
  local mark = redis.call('HGET', KEYS[2], ARGV[1]) or '0-0 0'
  local id, before = string.match(mark, '^(%S+) (%d+)$')
  if id == ARGV[3] then count = tonumber(before) + tonumber(ARGV[4]) end
end
if count then redis.call('HSET', KEYS[2], ARGV[1], string.format('%s %.0f', ARGV[2], count)) end
return 1
"""

# What became of a stream's entries, without the first and last of them, which XINFO would send along.
FATE: Final = """
local fate = {0, 0, '0-0'}
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'entries-added' then fate[1] = info[i + 1] end
  if info[i] == 'length' then fate[2] = info[i + 1] end
  if info[i] == 'max-deleted-entry-id' then fate[3] = info[i + 1] end
end
return fate
"""

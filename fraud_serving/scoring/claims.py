"""Once per payment: who scores an event id, and what was answered the first time.

A claim is one string per id: its state, the body's hash, then a lease or the stored answer. Finishing appends to the
decisions stream and stores the answer in one step on the server, so a payment is logged exactly once however often it
is sent, and whoever of two finishes second gets the first one's answer. Claim, shard and gate share a hash tag, so all
stand in one slot of a cluster.

Where the decisions' log is not in Redis (Kafka), one step cannot do both. Then the decision is *staged* beside the claim, appended,
and settled. Whoever finds a staged decision whose lease ran out appends those very bytes again: a copy of an entry that did
get through is equal to it, and ingestion counts it as a duplicate.

The gate (fraud_core.features.handover) is looked at in the same step as the claim, which says when the epoch gives way, and as
the append or the staging, so that nothing of an old epoch follows its drain. There each process has a count of its own, of what it logged in an epoch: a server that knows of less than was acknowledged
to that process has lost some of it. A count in common would not do: what others log meanwhile, and what is decided without a state, would fill up what is missing.

Bytes per claim: the answer plus about 100, and the record while it is staged. It lives `claim_ttl_s`; afterwards the same id is a new payment.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha1
from secrets import token_hex
from typing import Any, Final

from fraud_core.features.handover import count_field, gate_key
from fraud_core.features.wire import Command
from fraud_core.log.framing import JSON_FIELD

STREAM: Final = "decisions"

_CLAIM = b"""
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local v = redis.call('GET', KEYS[1])
if v then
  if string.sub(v, 2, 17) ~= ARGV[1] then return {3} end
  local state = string.sub(v, 1, 1)
  if state == 'D' then return {1, string.sub(v, 18)} end
  local lease = tonumber(string.sub(v, 18, 30)) - ms
  if lease > 0 then return {2, lease} end
  if state == 'P' then
    redis.call('SETRANGE', KEYS[1], 17, string.format('%013d', ms + ARGV[2]))
    local size = tonumber(string.sub(v, 31, 38))
    return {4, string.sub(v, 39, 38 + size), string.sub(v, 39 + size)}
  end
end
redis.call('SET', KEYS[1], 'C' .. ARGV[1] .. string.format('%013d', ms + ARGV[2]), 'PX', ARGV[3])
local closing = redis.call('HMGET', KEYS[2], 'closing', 'closing_until')
if closing[1] and tonumber(closing[2]) > ms then
  return {0, 0, tonumber(closing[1]), tonumber(closing[2]) - ms}
end
return {0, 0, 0, 0}
"""

# Whether a decision of an epoch (0: made without a state) may be logged now, given how many of its own the caller knows to be.
_GATE = b"""
local function refused(gate, epoch, mine, known)
  local g = redis.call('HMGET', gate, 'closed', 'fenced', 'until_ms', 'held', mine)
  if epoch > 0 and g[1] and epoch <= tonumber(g[1]) then return {5, 0} end
  if epoch > 0 and tonumber(g[5] or '0') < known then return {7} end
  if g[3] and (epoch > 0 and epoch <= tonumber(g[2]) or epoch == 0 and g[4] == '1') then
    local now = redis.call('TIME')
    local left = tonumber(g[3]) - now[1] * 1000 - math.floor(now[2] / 1000)
    if left > 0 then return {epoch > 0 and 5 or 6, left} end
  end
end

local function counted(gate, epoch, mine)
  redis.call('HINCRBY', gate, 'appended', 1)
  return epoch > 0 and redis.call('HINCRBY', gate, mine, 1) or 0
end
"""

_FINISH = (
    _GATE
    + b"""
local v = redis.call('GET', KEYS[1])
if v then
  if string.sub(v, 2, 17) ~= ARGV[1] then return {3} end
  if string.sub(v, 1, 1) == 'D' then return {1, string.sub(v, 18)} end
end
local epoch = tonumber(ARGV[6])
local no = refused(KEYS[3], epoch, ARGV[7], tonumber(ARGV[8]))
if no then return no end
redis.call('XADD', KEYS[2], '*', ARGV[4], ARGV[5])
redis.call('SET', KEYS[1], 'D' .. ARGV[1] .. ARGV[3], 'PX', ARGV[2])
return {0, counted(KEYS[3], epoch, ARGV[7])}
"""
)

_STAGE = (
    _GATE
    + b"""
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local v = redis.call('GET', KEYS[1])
if v then
  if string.sub(v, 2, 17) ~= ARGV[1] then return {3} end
  local state = string.sub(v, 1, 1)
  if state == 'D' then return {1, string.sub(v, 18)} end
  if state == 'P' then return {2, math.max(1, tonumber(string.sub(v, 18, 30)) - ms)} end
end
local epoch = tonumber(ARGV[6])
local no = refused(KEYS[2], epoch, ARGV[7], tonumber(ARGV[8]))
if no then return no end
local head = string.format('%013d%08d', ms + ARGV[2], #ARGV[4])
redis.call('SET', KEYS[1], 'P' .. ARGV[1] .. head .. ARGV[4] .. ARGV[5], 'PX', ARGV[3])
return {0, counted(KEYS[2], epoch, ARGV[7])}
"""
)

_SETTLE = b"""
redis.call('SET', KEYS[1], 'D' .. ARGV[1] .. ARGV[3], 'PX', ARGV[2])
return {0}
"""

SCRIPTS: Final = (_CLAIM, _FINISH, _STAGE, _SETTLE)
_CLAIM_SHA: Final = sha1(_CLAIM).hexdigest()  # noqa: S324 - the name Redis gives a script
_FINISH_SHA: Final = sha1(_FINISH).hexdigest()  # noqa: S324
_STAGE_SHA: Final = sha1(_STAGE).hexdigest()  # noqa: S324
_SETTLE_SHA: Final = sha1(_SETTLE).hexdigest()  # noqa: S324


class Standing(IntEnum):
    """What a claim found."""

    OURS = 0
    """Not answered yet: score it. Also after a crash, when the lease of the one before ran out."""
    ANSWERED = 1
    """The same body was answered before."""
    BUSY = 2
    """Another request with the same body is being scored now."""
    CONFLICT = 3
    """The id is known with another body."""
    STAGED = 4
    """The same body was decided before, and nobody knows whether that decision reached its log: append it again."""
    FENCED = 5
    """The decision's epoch gives way to a new one: nothing was logged; apply the payment to that one."""
    HELD = 6
    """Decisions without a state wait while a rebuild reads the log to its end: send it again."""
    LOST = 7
    """The server lost decisions that it had acknowledged, so its state lacks them too; nothing was logged."""


@dataclass(frozen=True)
class Claim:
    """Standing of one event id; `answer` when it was answered, `lease_ms` for how long it is busy, fenced, held or waits at
    most, `record` too when it is staged."""

    standing: Standing
    answer: bytes = b""
    lease_ms: int = 0
    record: bytes = b""
    counted: int = 0
    """After a finish: how many decisions of its epoch its shard was given by this process so far; 0 without a state."""
    closing: int = 0
    """After a claim: epochs up to this one give way, for `lease_ms` at most; a later one is to be waited for."""


class Claims:
    """Makes claim and finish commands and reads their replies; without `shards` the decisions' log is not in Redis."""

    def __init__(self, namespace: str, shards: int | None, *, ttl_s: float, lease_ms: int = 1000) -> None:
        self._namespace = namespace
        self.shards = shards or 1
        """Gates: one per shard of the decisions' log, or one for all where that is not in Redis."""
        self._process = token_hex(4)
        self._counted = [0] * self.shards
        self._epoch = 0
        """The epoch to which `_counted` belongs."""
        self._ttl_ms = int(ttl_s * 1000)
        self._lease_ms = lease_ms

    def claim(self, event_id: str, body: bytes) -> Command:
        """Ask for an id on behalf of a body (its 16-byte hash). Sent twice, the second finds itself busy."""
        key, _, gate = self._keys(event_id)
        return ("EVALSHA", _CLAIM_SHA, 2, key, gate, body, self._lease_ms, self._ttl_ms)

    def finish(self, event_id: str, body: bytes, answer: bytes, record: bytes, *, epoch: int) -> Command:
        """Append a decision made in `epoch` (0: without a state) and store its answer, unless another did."""
        key, stream, gate = self._keys(event_id)
        known = self.known(epoch)[self.shard(event_id)]
        return (
            "EVALSHA", _FINISH_SHA, 3, key, stream, gate,
            body, self._ttl_ms, answer, JSON_FIELD, record, epoch, self._mine(epoch), known,
        )  # fmt: skip

    def stage(self, event_id: str, body: bytes, answer: bytes, record: bytes, *, epoch: int) -> Command:
        """Keep a decision that is about to be appended elsewhere, unless another did."""
        key, _, gate = self._keys(event_id)
        return (
            "EVALSHA", _STAGE_SHA, 2, key, gate,
            body, self._lease_ms, self._ttl_ms, answer, record, epoch, self._mine(epoch), self.known(epoch)[0],
        )  # fmt: skip

    def settle(self, event_id: str, body: bytes, answer: bytes) -> Command:
        """The decision was appended: from now on its answer is the answer."""
        key, _, _ = self._keys(event_id)
        return ("EVALSHA", _SETTLE_SHA, 1, key, body, self._ttl_ms, answer)

    def note(self, event_id: str, claim: Claim, epoch: int) -> None:
        """Remember how many decisions the server has acknowledged: one that knows of fewer has lost some.

        An epoch is built from what was there then, so what was lost before it is no longer missed.
        """
        if epoch > self._epoch:
            self._epoch, self._counted = epoch, [0] * self.shards
        if epoch == self._epoch:
            shard = self.shard(event_id)
            self._counted[shard] = max(self._counted[shard], claim.counted)

    def remember(self, other: "Claims") -> None:
        """Know what another knew, over a connection that was lost: a server that comes back is measured by it."""
        if other.shards == self.shards:
            self._process = other._process  # noqa: SLF001 (of its own class)
            self._epoch, self._counted = other._epoch, list(other._counted)  # noqa: SLF001 (of its own class)

    def gates(self, epoch: int) -> list[Command]:
        """Ask how many decisions of an epoch each shard was given by this process."""
        return [("HGET", gate_key(self._namespace, shard), self._mine(epoch)) for shard in range(self.shards)]

    def known(self, epoch: int) -> list[int]:
        """How many decisions of each shard the server has acknowledged in this epoch; to be asked before `gates` is sent."""
        return list(self._counted) if epoch == self._epoch else [0] * self.shards

    def _mine(self, epoch: int) -> str:
        return count_field(epoch, self._process)

    def shard(self, event_id: str) -> int:
        """Number of the shard that an id belongs to."""
        return zlib.crc32(event_id.encode()) % self.shards

    @staticmethod
    def read(reply: list[Any]) -> Claim:
        """What a claim or a finish said; after a finish OURS means that this one was logged."""
        standing = Standing(reply[0])
        if standing is Standing.ANSWERED:
            return Claim(standing, answer=reply[1])
        if standing in (Standing.BUSY, Standing.FENCED, Standing.HELD):
            return Claim(standing, lease_ms=int(reply[1]))
        if standing is Standing.STAGED:
            return Claim(standing, answer=reply[1], record=reply[2])
        if standing is Standing.OURS and len(reply) > 2:
            return Claim(standing, closing=int(reply[2]), lease_ms=int(reply[3]))
        if standing is Standing.OURS and len(reply) > 1:
            return Claim(standing, counted=int(reply[1]))
        return Claim(standing)

    def _keys(self, event_id: str) -> tuple[str, str, str]:
        shard = self.shard(event_id)
        tag = f"{{{STREAM}.{shard}}}"
        return (
            f"{self._namespace}:claim:{tag}:{event_id}",
            f"{self._namespace}:log:{tag}",
            gate_key(self._namespace, shard),
        )

"""Once per payment: who scores an event id, and what was answered the first time.

A claim is one string per id: its state, the body's hash, then a lease or the stored answer. Finishing appends to the
decisions stream and stores the answer in one step on the server, so a payment is logged exactly once however often it
is sent, and whoever of two finishes second gets the first one's answer. Claim and shard share a hash tag, so both
stand in one slot of a cluster.

Bytes per claim: the answer plus about 100. It lives `claim_ttl_s`; afterwards the same id is a new payment.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha1
from typing import Any, Final

from fraud_core.features.wire import Command
from fraud_core.log.framing import JSON_FIELD

STREAM: Final = "decisions"

_CLAIM = b"""
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local v = redis.call('GET', KEYS[1])
if v then
  if string.sub(v, 2, 17) ~= ARGV[1] then return {3} end
  if string.sub(v, 1, 1) == 'D' then return {1, string.sub(v, 18)} end
  local lease = tonumber(string.sub(v, 18)) - ms
  if lease > 0 then return {2, lease} end
end
redis.call('SET', KEYS[1], 'C' .. ARGV[1] .. string.format('%d', ms + ARGV[2]), 'PX', ARGV[3])
return {0}
"""

_FINISH = b"""
local v = redis.call('GET', KEYS[1])
if v then
  if string.sub(v, 2, 17) ~= ARGV[1] then return {3} end
  if string.sub(v, 1, 1) == 'D' then return {1, string.sub(v, 18)} end
end
redis.call('XADD', KEYS[2], '*', ARGV[4], ARGV[5])
redis.call('SET', KEYS[1], 'D' .. ARGV[1] .. ARGV[3], 'PX', ARGV[2])
return {0}
"""

SCRIPTS: Final = (_CLAIM, _FINISH)
_CLAIM_SHA: Final = sha1(_CLAIM).hexdigest()  # noqa: S324 - the name Redis gives a script
_FINISH_SHA: Final = sha1(_FINISH).hexdigest()  # noqa: S324


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


@dataclass(frozen=True)
class Claim:
    """Standing of one event id; `answer` when it was answered, `lease_ms` when it is busy."""

    standing: Standing
    answer: bytes = b""
    lease_ms: int = 0


class Claims:
    """Makes claim and finish commands and reads their replies."""

    def __init__(self, namespace: str, shards: int, *, ttl_s: float, lease_ms: int = 1000) -> None:
        self._namespace = namespace
        self._shards = shards
        self._ttl_ms = int(ttl_s * 1000)
        self._lease_ms = lease_ms

    def claim(self, event_id: str, body: bytes) -> Command:
        """Ask for an id on behalf of a body (its 16-byte hash). Sent twice, the second finds itself busy."""
        key, _ = self._keys(event_id)
        return ("EVALSHA", _CLAIM_SHA, 1, key, body, self._lease_ms, self._ttl_ms)

    def finish(self, event_id: str, body: bytes, answer: bytes, record: bytes) -> Command:
        """Append a decision and store its answer, unless another did."""
        key, stream = self._keys(event_id)
        return ("EVALSHA", _FINISH_SHA, 2, key, stream, body, self._ttl_ms, answer, JSON_FIELD, record)

    @staticmethod
    def read(reply: list[Any]) -> Claim:
        """What a claim or a finish said; after a finish OURS means that this one was logged."""
        standing = Standing(reply[0])
        if standing is Standing.ANSWERED:
            return Claim(standing, answer=reply[1])
        if standing is Standing.BUSY:
            return Claim(standing, lease_ms=int(reply[1]))
        return Claim(standing)

    def _keys(self, event_id: str) -> tuple[str, str]:
        shard = zlib.crc32(event_id.encode()) % self._shards
        tag = f"{{{STREAM}.{shard}}}"
        return f"{self._namespace}:claim:{tag}:{event_id}", f"{self._namespace}:log:{tag}"

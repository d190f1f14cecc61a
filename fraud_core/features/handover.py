"""From one epoch of the online state to the next, while payments are being scored: lease, closing, fence, hold, flip.

What counts is what reaches the decisions log. Each shard of it has a *gate*, a hash beside the stream in the same
cluster slot, and the scripts that append look at it in the same step:

- *closing*: whoever claims a payment is told that the epoch gives way, and waits for the flip before applying it. Payments
  that were applied before are still logged, for others may have seen them: a rebuild lets them finish before it fences.
- *fence*: decisions made in an epoch up to `fenced` are refused until `until_ms` (server time). Whoever is refused waits
  for the flip and applies the payment anew, or takes the failure ladder.
- *hold*: decisions made without a state wait until `until_ms` too, so that the rebuild can read the log to its end.
- *closed*: decisions of an epoch up to it are never appended again.
- *logged:EPOCH:PROCESS*: how many decisions of an epoch each process was told are logged. They go when the epoch after it is
  closed: who still is in that one must not take a count that was put away for a loss.

A fence ends by itself, so a rebuild that dies costs no more than its stated maximum; the flip is refused once that time
is nearly up. So no decision of an old epoch can come after its drain.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fraud_core.errors import StateError
from fraud_core.features.wire import Command, exchange

MARGIN_MS: Final = 100
"""The flip must come this long before the fence ends; also what the clocks of a cluster's nodes may differ by."""

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

# Returns 1, -1 when the lease is another's, -2 when the fence is nearly over, -3 when a newer epoch is current.
_FLIP = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
if ms > tonumber(ARGV[3]) then return -2 end
if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[2]) then return -3 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[3])
return 1
"""

_CLOSING = """
local now = redis.call('TIME')
local until_ms = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2]
redis.call('HSET', KEYS[1], 'closing', ARGV[1], 'closing_until', string.format('%d', until_ms))
return until_ms
"""

_FENCE = """
local now = redis.call('TIME')
local until_ms = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[2]
local text = string.format('%d', until_ms)
redis.call('HSET', KEYS[1], 'closing', ARGV[1], 'closing_until', text, 'fenced', ARGV[1], 'until_ms', text, 'held', '0')
return until_ms
"""

_CLOSE = """
local closed = tonumber(redis.call('HGET', KEYS[1], 'closed') or '0')
local fenced = tonumber(redis.call('HGET', KEYS[1], 'fenced') or '0')
if closed < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'closed', ARGV[1]) end
if fenced <= tonumber(ARGV[1]) then
  redis.call('HDEL', KEYS[1], 'closing', 'closing_until', 'fenced', 'until_ms', 'held')
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local epoch = string.match(field, '^logged:(%d+):')
  if epoch and tonumber(epoch) < tonumber(ARGV[1]) then redis.call('HDEL', KEYS[1], field) end
end
return 1
"""

# An epoch that lost what it had acknowledged must not go on passing for whole.
_WITHDRAW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
"""


def gate_key(namespace: str, shard: int) -> str:
    """The gate of one shard of the decisions log."""
    return f"{namespace}:log:{{decisions.{shard}}}:gate"


def count_field(epoch: int, process: str) -> str:
    """The gate's count of what one process logged in an epoch."""
    return f"logged:{epoch}:{process}"


def lease_key(epoch_key: str) -> str:
    """The lease of a rebuild; in the slot of the epoch's key."""
    return f"{{{epoch_key}}}:lease"


def lost_key(epoch_key: str) -> str:
    """Why the last epoch was withdrawn; in the slot of the epoch's key."""
    return f"{{{epoch_key}}}:lost"


def withdraw_command(epoch_key: str, epoch: int, reason: str) -> Command:
    """Make a state that is known to lack acknowledged updates no state at all."""
    return ("EVAL", _WITHDRAW, 2, epoch_key, lost_key(epoch_key), str(epoch), reason)


def close_commands(namespace: str, shards: int, epoch: int) -> list[Command]:
    """Refuse decisions of epochs up to `epoch` for good; whoever adopts a newer one may send them."""
    return [("EVAL", _CLOSE, 1, gate_key(namespace, shard), epoch) for shard in range(shards)]


@dataclass(frozen=True)
class Fence:
    """A fence in force."""

    epoch: int
    until_ms: int
    """Server time at which it ends by itself."""
    began: float
    """time.monotonic() of its beginning."""

    @property
    def age_ms(self) -> float:
        """How long it has stood."""
        return (time.monotonic() - self.began) * 1000


class Handover:
    """The lease of one rebuild, and what it may do with it. Raises RedisError where Redis does not do its part."""

    def __init__(self, client: Any, namespace: str, epoch_key: str, shards: int, token: str) -> None:
        self._client, self._namespace, self._epoch_key = client, namespace, epoch_key
        self._shards, self._token = shards, token
        self._lease = lease_key(epoch_key)

    def acquire(self, life_s: float) -> None:
        """Take the lease. Raises StateError when another rebuild has it."""
        life_ms = int(life_s * 1000)
        if self._client.set(self._lease, self._token, nx=True, px=life_ms) or self.renew(life_s):
            return
        left_s = max(0, int(self._client.pttl(self._lease))) / 1000
        raise StateError(
            "One rebuild of the online state at a time was expected, and another is under way; its lease ends in "
            f"{left_s:.0f} s unless it is renewed. Watch it with `spearhead state status`, and run this again when it is done."
        )

    def renew(self, life_s: float) -> bool:
        """Keep the lease; False when it is no longer ours."""
        return bool(self._client.eval(_RENEW, 1, self._lease, self._token, int(life_s * 1000)))

    def release(self) -> None:
        """Give the lease back."""
        self._client.eval(_RELEASE, 1, self._lease, self._token)

    def closing(self, epoch: int, life_ms: int) -> None:
        """Tell whoever claims a payment, for `life_ms`, that epochs up to `epoch` give way."""
        self._each(lambda key: ("EVAL", _CLOSING, 1, key, epoch, life_ms))

    def appended(self) -> list[int]:
        """How many decisions each shard was given so far."""
        return [int(found or 0) for found in self._each(lambda key: ("HGET", key, "appended"))]

    def fence(self, epoch: int, life_ms: int) -> Fence:
        """Refuse decisions of epochs up to `epoch` on every shard for `life_ms`."""
        began = time.monotonic()
        ends = self._each(lambda key: ("EVAL", _FENCE, 1, key, epoch, life_ms))
        return Fence(epoch, min(int(end) for end in ends), began)

    def hold(self) -> None:
        """Let decisions made without a state wait too, until the fence ends: now the log stands still."""
        self._each(lambda key: ("HSET", key, "held", "1"))

    def lift(self) -> None:
        """End the fence early; the old epoch goes on."""
        self._each(lambda key: ("HDEL", key, "closing", "closing_until", "fenced", "until_ms", "held"))

    def flip(self, epoch: int, fence: Fence) -> bool:
        """Make `epoch` current and open the gates; False when the fence is too nearly over: drain again.

        Raises StateError when the lease is lost or a newer epoch is current.
        """
        keys = (self._epoch_key, self._lease, lost_key(self._epoch_key))
        said = int(self._client.eval(_FLIP, 3, *keys, self._token, epoch, fence.until_ms - MARGIN_MS))
        if said == -2:
            return False
        if said != 1:
            found = "the lease is no longer this rebuild's" if said == -1 else "a newer epoch is current"
            raise StateError(
                f"Epoch {epoch} was to become current, but {found}: Redis lost it, or another rebuild was faster. "
                "Look at `spearhead state status` and run `spearhead state rebuild` again if it is still needed."
            )
        self.close(epoch - 1)
        return True

    def close(self, epoch: int) -> None:
        """Refuse decisions of epochs up to `epoch` for good, and end the fence."""
        replies = exchange(self._client, close_commands(self._namespace, self._shards, epoch))
        _raise_first(replies)

    def _each(self, command: Any) -> Sequence[Any]:
        commands = [command(gate_key(self._namespace, shard)) for shard in range(self._shards)]
        return _raise_first(exchange(self._client, commands))


def _raise_first(replies: Sequence[Any]) -> Sequence[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies

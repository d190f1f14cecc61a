"""Whether there is an online state to apply payments to, and whether it can be trusted: the server lost nothing, evicted nothing.

A state that lacks acknowledged updates is withdrawn at once, for everybody: no state is better than one that is wrong.
"""

from typing import Any

from fraud_core.errors import StateError, StateLost
from fraud_core.features import AsyncOnlineState
from fraud_core.features.handover import close_commands, lost_key, withdraw_command
from fraud_core.features.server import ServerFacts, evicted_since, evictions_async, read_facts_async
from fraud_core.features.wire import exchange_async
from fraud_serving.scoring import metrics
from fraud_serving.scoring.claims import Claims
from fraud_serving.scoring.unavailable import STATE_LOST, STATE_UNAVAILABLE, StoreUnavailable


class StateWatch:
    """What one process knows of the online state."""

    def __init__(self, client: Any, state: AsyncOnlineState) -> None:
        self._client, self._state = client, state
        self.problem: str | None = "Not connected yet."
        """Why the store cannot be used in full, for people; None when it can."""
        self.facts: ServerFacts | None = None
        """What the server last said of itself."""
        self.has_state = False
        """Whether there is an epoch to apply to; without one, events would be folded into a state that nobody built."""
        self._had_state = False
        """Whether there was a state in this process's life."""
        self._lost = False
        """Whether there was one, and then none."""
        self._closed = 0
        """The epoch up to which this process has seen the gates closed."""

    async def look(self, claims: Claims) -> None:
        """Take up the current epoch if there is a sound one. Raises StateError, having noted why, or RedisError."""
        try:
            self.facts = await read_facts_async(self._client)
            if problem := self.facts.problem():
                raise StateError(problem)
            if self.problem or await self._epoch_changed():
                await self._state.load()
            await self._look_for_loss(claims, self.facts)
            await self._close_gates(claims.shards)
            self.has_state, self._had_state, self._lost = True, True, False
        except StateLost as error:
            told = await self._told(error)
            self.forget(str(told), lost=self._had_state)
            raise told from error
        except StateError as error:
            self.forget(str(error), lost=self._lost)
            raise

    def forget(self, problem: str, *, lost: bool) -> None:
        """There is no state to apply to; `lost`: there was one. Of one loss the first words stand: who comes after finds nothing, and
        not why."""
        if lost and not self._lost:
            metrics.STATE_LOSSES.inc()
        if not (lost and self._lost and self.problem):
            self.problem = problem
        self.has_state, self._lost = False, lost

    def no_state(self) -> StoreUnavailable:
        """What is said while there is none."""
        code = STATE_LOST if self._lost else STATE_UNAVAILABLE
        return StoreUnavailable(code, self.problem or "There is no online state yet.")

    async def withdraw(self, epoch: int, reason: str) -> None:
        """End an epoch that lacks what was acknowledged. Raises StateLost."""
        await exchange_async(self._client, [withdraw_command(self._state.calls.epoch_key, epoch, reason)])
        raise _withdrawn(reason)

    async def _told(self, loss: StateLost) -> StateLost:
        """The same loss with its reason, where there is an epoch no more because somebody withdrew it."""
        reason = await self._client.get(lost_key(self._state.calls.epoch_key))
        return _withdrawn(reason.decode()) if reason else loss

    async def demand_unevicted(self) -> None:
        """Asked about an update of an entity that had no state: it is new, or its state was evicted since the last look.

        Raises StateLost, the epoch withdrawn, where keys were evicted since it was built, or RedisError.
        """
        if evicted := evicted_since(await evictions_async(self._client), self._state.evictions):
            await self.withdraw(self._state.epoch(), f"{evicted} keys were evicted")

    async def _epoch_changed(self) -> bool:
        epoch = await self._client.get(self._state.calls.epoch_key)
        return epoch is None or int(epoch) != self._state.epoch()

    async def _close_gates(self, shards: int) -> None:
        """Whoever built this epoch may have died before it shut out the ones before for good."""
        epoch = self._state.epoch()
        if self._closed != epoch:
            await exchange_async(self._client, close_commands(self._state.namespace, shards, epoch - 1))
            self._closed = epoch

    async def _look_for_loss(self, claims: Claims, facts: ServerFacts) -> None:
        """Raises StateLost, the epoch withdrawn, when the server evicted keys or forgot what it had acknowledged."""
        epoch = self._state.epoch()
        known = claims.known(epoch)  # before asking: others are acknowledged meanwhile
        found = await exchange_async(self._client, claims.gates(epoch))
        if missing := sum(max(0, a - int(b or 0)) for a, b in zip(known, found, strict=True)):
            await self.withdraw(epoch, f"{missing} acknowledged decisions are gone from the log")
        elif evicted := facts.evicted_since(self._state.evictions):
            await self.withdraw(epoch, f"{evicted} keys were evicted")


def _withdrawn(reason: str) -> StateLost:
    return StateLost(
        f"The online state was withdrawn, for it cannot be trusted: {reason}. Run `spearhead state rebuild`; the sensor "
        "rebuild_lost_state does so by itself."
    )

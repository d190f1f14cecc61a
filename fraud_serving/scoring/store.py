"""The two round trips to Redis of a scoring request: claim and apply, then append and store.

Both are pipelines over any number of payments, in order. The state remembers an event for its `answer_ttl` and applies
it once within that time; so a payment that happened less than that ago may be applied in the very trip that claims it:
on a repeat nothing changes. An older one may have been claimed, and forgotten by the state, so it is claimed first and
applied only if it is ours, in a trip of its own.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from fraud_core.errors import LogError, StateError
from fraud_core.features import Applied, AsyncOnlineState
from fraud_serving.models.breaker import Breaker
from fraud_serving.scoring.claims import SCRIPTS, Claim, Claims, Standing
from fraud_serving.scoring.submission import Submission

Queue = Callable[[Any, Claims], None]
REDIS_UNREACHABLE = "redis_unreachable"
STATE_UNAVAILABLE = "features_unavailable"
CLOCKS_APART_MS = 30_000
"""How far this machine's clock and the server's may differ."""


class StoreUnavailable(StateError):
    """Redis did not do its part; `code` is the fallback reason that the answer shows."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Store:
    """Claims, online state and decisions log of one Redis, behind one breaker."""

    def __init__(self, client: "Redis", state: AsyncOnlineState, claims: Callable[[], Claims]) -> None:
        self._client = client
        self._state = state
        self._make_claims = claims
        self._claims: Claims | None = None
        self.breaker = Breaker(failures=3, retry_after_s=0.5)
        # An event's id cannot have been seen before its time, save by the tolerance for clocks that run ahead.
        self._together_ms = (
            state.features.answer_ttl_s * 1000 - state.features.contract.future_tolerance_ms - CLOCKS_APART_MS
        )
        self.problem: str | None = "Not connected yet."
        """Why the store cannot be used in full, for people; None when it can."""

    async def tend(self) -> None:
        """Connect, load what Redis must know, notice what is wrong; called in the background. Never raises."""
        try:
            if self._claims is None or self.problem:
                self._claims = await asyncio.to_thread(self._make_claims)
                await self._load_scripts()
                await self._state.load()
            else:
                await self._client.ping()
        except (RedisError, LogError, StateError) as error:
            self.problem = str(error)
            return
        self.problem = None
        self.breaker.succeeded()

    async def claim_and_apply(
        self, submissions: Sequence[Submission]
    ) -> tuple[list[Claim], list[Applied | None] | StoreUnavailable]:
        """Claim the ids and apply the events; None for an event that was not applied because it is not ours.

        The state may be unavailable while claims work; then its error comes back as a value.
        Raises StoreUnavailable when Redis cannot be reached.
        """
        if min(each.event_ms for each in submissions) > time.time_ns() // 1_000_000 - self._together_ms:
            return await self._together(submissions)

        def queue(pipe: Any, claims: Claims) -> None:
            for each in submissions:
                claims.queue_claim(pipe, each.event_id, each.body)

        claims = [Claims.read(reply) for reply in await self._send(queue)]
        ours = [place for place, claim in enumerate(claims) if claim.standing is Standing.OURS]
        applied: list[Applied | None] = [None] * len(submissions)
        try:
            for place, found in zip(
                ours, await self._apply([submissions[place] for place in ours]), strict=True
            ):
                applied[place] = found
        except StoreUnavailable as error:
            return claims, error
        return claims, applied

    async def _together(
        self, submissions: Sequence[Submission]
    ) -> tuple[list[Claim], list[Applied | None] | StoreUnavailable]:
        state = self._state
        try:
            prepared = [state.calls.prepare(state.epoch(), each.event, each.event_id) for each in submissions]
        except StateError as error:
            prepared, problem = [], StoreUnavailable(STATE_UNAVAILABLE, str(error))

        def queue(pipe: Any, claims: Claims) -> None:
            for each in submissions:
                claims.queue_claim(pipe, each.event_id, each.body)
            pipe.get(state.calls.epoch_key)
            for event in prepared:
                for command in event.commands:
                    pipe.execute_command(*command)

        replies = await self._send(queue)
        count = len(submissions)
        claims = [Claims.read(reply) for reply in replies[:count]]
        if not prepared:
            return claims, problem
        epoch, results = replies[count], replies[count + 1 :]
        current = epoch is not None and int(epoch) == state.epoch()
        try:
            if current and not any(isinstance(result, Exception) for result in results):
                return claims, list(state.calls.decode(state.epoch(), prepared, results))
            # A new epoch, or functions lost with a restart: the state's own path knows what to do.
            return claims, list(await self._apply(submissions))
        except StoreUnavailable as error:
            return claims, error

    async def _apply(self, submissions: Sequence[Submission]) -> list[Applied]:
        if not submissions:
            return []
        try:
            return await self._state.apply_many([(each.event, each.event_id) for each in submissions])
        except (StateError, RedisError) as error:
            raise StoreUnavailable(STATE_UNAVAILABLE, str(error)) from error

    async def finish(self, finished: Sequence[tuple[Submission, bytes, bytes]]) -> list[Claim]:
        """Log decisions and store their answers: (submission, answer, record) each. One round trip.

        Raises StoreUnavailable; then nothing is known to be logged, and a retry of the payment settles it.
        """

        def queue(pipe: Any, claims: Claims) -> None:
            for submission, answer, record in finished:
                claims.queue_finish(pipe, submission.event_id, submission.body, answer, record)

        return [Claims.read(reply) for reply in await self._send(queue)]

    async def _send(self, queue: Queue) -> list[Any]:
        if self._claims is None or not self.breaker.allows():
            raise StoreUnavailable(REDIS_UNREACHABLE, "Redis did not answer lately and is not asked now.")
        try:
            replies = await self._execute(queue)
            if any(
                isinstance(reply, NoScriptError) for reply in replies
            ):  # Redis was restarted without its file
                await self._load_scripts()
                replies = await self._execute(queue)
        except RedisError as error:
            self.breaker.failed()
            raise StoreUnavailable(REDIS_UNREACHABLE, f"Redis does not answer: {error}.") from error
        for reply in replies:
            if isinstance(reply, RedisError) and "unction not found" not in str(reply):
                if not isinstance(reply, ResponseError):
                    self.breaker.failed()
                raise StoreUnavailable(REDIS_UNREACHABLE, f"Redis refused a command: {reply}.") from reply
        self.breaker.succeeded()
        return replies

    async def _execute(self, queue: Queue) -> list[Any]:
        assert self._claims is not None
        pipe = self._client.pipeline(transaction=False)
        queue(pipe, self._claims)
        return await pipe.execute(raise_on_error=False)

    async def _load_scripts(self) -> None:
        for script in SCRIPTS:
            await self._client.script_load(script)

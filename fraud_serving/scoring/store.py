"""The two round trips to Redis of a scoring request: claim and apply, then append and store.

Both are pipelines over any number of payments, in order. Applying is idempotent by event id, so it may travel together
with the claim that it depends on: on a repeat it returns what it stored the first time and changes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from fraud_core.errors import LogError, StateError
from fraud_core.features import Applied, AsyncOnlineState
from fraud_serving.models.breaker import Breaker
from fraud_serving.scoring.claims import SCRIPTS, Claim, Claims
from fraud_serving.scoring.submission import Submission

Queue = Callable[[Any, Claims], None]
REDIS_UNREACHABLE = "redis_unreachable"
STATE_UNAVAILABLE = "features_unavailable"


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
    ) -> tuple[list[Claim], list[Applied] | StoreUnavailable]:
        """Claim the ids and apply the events. One round trip, save after a rebuild or a restart of Redis.

        The state may be unavailable while claims work; then its error comes back as a value.
        Raises StoreUnavailable when Redis cannot be reached.
        """
        state = self._state
        try:
            prepared = [state.calls.prepare(state.epoch(), each.event, each.event_id) for each in submissions]
        except StateError as error:
            prepared, problem = [], error

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
            return claims, StoreUnavailable(STATE_UNAVAILABLE, str(problem))
        epoch, results = replies[count], replies[count + 1 :]
        current = epoch is not None and int(epoch) == state.epoch()
        try:
            if current and not any(isinstance(result, Exception) for result in results):
                return claims, state.calls.decode(state.epoch(), prepared, results)
            # A new epoch, or functions lost with a restart: the state's own path knows what to do.
            return claims, await state.apply_many([(each.event, each.event_id) for each in submissions])
        except (StateError, RedisError) as error:
            return claims, StoreUnavailable(STATE_UNAVAILABLE, str(error))

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

"""The three round trips to Redis of a scoring request: claim, apply, then append and store.

Each carries any number of payments, in order. The claim goes first and alone, because only its answer tells whose event
this is: a body that is refused must not touch any entity's state, and a payment that was answered long ago, which the
state has forgotten, must not be applied again. Applying in the same trip would save some 0.1 ms and give up both.

All three live on one deadline: each gets a share of what is left of it. A decision whose logging does not end in time is
answered as not logged, and goes on being logged.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from fraud_core.errors import LogError, StateError
from fraud_core.features import Applied, AsyncOnlineState
from fraud_core.features.wire import Command, exchange_async
from fraud_serving.models.breaker import Breaker
from fraud_serving.scoring.claims import SCRIPTS, Claim, Claims, Standing
from fraud_serving.scoring.submission import Submission

log = logging.getLogger(__name__)

REDIS_UNREACHABLE = "redis_unreachable"
STATE_UNAVAILABLE = "features_unavailable"
LOG_UNREACHABLE = "log_unreachable"
_LEASE_OF_STAGED_MS = 500
Result = TypeVar("Result")
SHARE = 0.6
"""Of what is left of the deadline, what claiming and applying may each take."""
LEAST_S = 0.005
"""What a trip gets when next to nothing is left."""


class StoreUnavailable(StateError):
    """Redis did not do its part; `code` is the fallback reason that the answer shows."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


Elsewhere = Callable[[Sequence[tuple[str, bytes]]], Awaitable[None]]
"""Appends decisions, (event id, record) each, to a log that is not in Redis. Raises LogError."""


class Store:
    """Claims, online state and decisions log, in one Redis behind one breaker; the log may be elsewhere, behind its own."""

    def __init__(
        self,
        client: "Redis",
        state: AsyncOnlineState,
        claims: Callable[[], Claims],
        elsewhere: Elsewhere | None = None,
        *,
        trip_s: float,
    ) -> None:
        """`trip_s` is the client's own limit of one round trip."""
        self._client = client
        self._trip_s = trip_s
        self._state = state
        self._make_claims = claims
        self._claims: Claims | None = None
        self._elsewhere = elsewhere
        self.breaker = Breaker(failures=3, retry_after_s=0.5)
        self.log_breaker = Breaker(failures=3, retry_after_s=0.5)
        self.problem: str | None = "Not connected yet."
        """Why the store cannot be used in full, for people; None when it can."""
        self._late: set[asyncio.Task[Any]] = set()
        """Loggings that go on after their answer was given."""
        self._has_state = False
        """Whether there is an epoch to apply to; without one, events would be folded into a state that nobody built."""

    async def tend(self) -> None:
        """Connect, load what Redis must know, notice what is wrong; called in the background. Never raises."""
        try:
            if self._claims is None or self.problem:
                self._claims = await asyncio.to_thread(self._make_claims)
                await self._load_scripts()
            if self.problem or await self._epoch_changed():
                await self._state.load()
                self._has_state = True
        except StateError as error:
            self.problem, self._has_state = str(error), False
            return
        except (RedisError, LogError) as error:
            self.problem = str(error)
            return
        self.problem = None
        self.breaker.succeeded()

    async def _epoch_changed(self) -> bool:
        epoch = await self._client.get(self._state.calls.epoch_key)
        return epoch is None or int(epoch) != self._state.epoch()

    async def claim_and_apply(
        self, submissions: Sequence[Submission], deadline: float
    ) -> tuple[list[Claim], list[Applied | None] | StoreUnavailable]:
        """Claim the ids and apply the events; None for an event that was not applied because it is not ours.

        The state may be unavailable while claims work; then its error comes back as a value.
        `deadline` is a time of time.monotonic(). Raises StoreUnavailable when Redis cannot be reached in time.
        """
        claims = await self._claim(submissions, deadline)
        ours = [place for place, claim in enumerate(claims) if claim.standing is Standing.OURS]
        applied: list[Applied | None] = [None] * len(submissions)
        try:
            found = await self._apply([submissions[place] for place in ours], deadline)
        except StoreUnavailable as error:
            return claims, error
        for place, each in zip(ours, found, strict=True):
            applied[place] = each
        return claims, applied

    async def _claim(self, submissions: Sequence[Submission], deadline: float) -> list[Claim]:
        claims = self._known_claims()
        try:
            async with asyncio.timeout(_left(deadline) * SHARE):
                replies = await self._send([claims.claim(each.event_id, each.body) for each in submissions])
        except TimeoutError as error:
            self.breaker.failed()
            raise _too_slow() from error
        found = [Claims.read(reply) for reply in replies]
        staged = [place for place, claim in enumerate(found) if claim.standing is Standing.STAGED]
        if staged:
            work = self._settled([(submissions[place], found[place]) for place in staged])
            settled = await self._by(deadline, work)
            for place in staged:
                found[place] = (
                    Claim(Standing.ANSWERED, answer=found[place].answer)
                    if settled
                    else Claim(Standing.BUSY, lease_ms=_LEASE_OF_STAGED_MS)
                )
        return found

    async def _apply(self, submissions: Sequence[Submission], deadline: float) -> list[Applied]:
        if not submissions:
            return []
        if not self._has_state:
            raise StoreUnavailable(STATE_UNAVAILABLE, self.problem or "There is no online state yet.")
        try:
            async with asyncio.timeout(_left(deadline) * SHARE):
                return await self._state.apply_many([(each.event, each.event_id) for each in submissions])
        except TimeoutError as error:
            raise _too_slow() from error
        except (StateError, RedisError) as error:
            raise StoreUnavailable(STATE_UNAVAILABLE, str(error)) from error

    async def finish(
        self, finished: Sequence[tuple[Submission, bytes, bytes]], deadline: float
    ) -> list[Claim]:
        """Log decisions and store their answers: (submission, answer, record) each. One round trip.

        With the log elsewhere it takes two, and the append between them. Raises StoreUnavailable, also when it did not end by
        `deadline`; then nothing is known to be logged, and a retry of the payment settles it.
        """
        work = self._finish(self._known_claims(), finished)
        if self._elsewhere is None and _left(deadline) >= self._trip_s:
            return await work  # nearly always: the client's own limit ends it in time
        found = await self._by(deadline, work)
        if found is None:
            raise _too_slow(REDIS_UNREACHABLE if self._elsewhere is None else LOG_UNREACHABLE)
        return found

    async def settle(self, timeout_s: float) -> None:
        """Wait for loggings that go on after their answer was given."""
        if self._late:
            await asyncio.wait(self._late, timeout=timeout_s)

    async def _by(self, deadline: float, work: Coroutine[Any, Any, Result]) -> Result | None:
        """What `work` gives by `deadline`; None when it does not end by then, and goes on."""
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=_left(deadline))
        return task.result() if done else None

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # told already: the answer said that it was not logged

    async def _finish(
        self, claims: Claims, finished: Sequence[tuple[Submission, bytes, bytes]]
    ) -> list[Claim]:
        if self._elsewhere is not None:
            return await self._finish_elsewhere(claims, finished)
        replies = await self._send(
            [claims.finish(each.event_id, each.body, answer, record) for each, answer, record in finished]
        )
        return [Claims.read(reply) for reply in replies]

    async def _finish_elsewhere(
        self, claims: Claims, finished: Sequence[tuple[Submission, bytes, bytes]]
    ) -> list[Claim]:
        if not self.log_breaker.allows():
            raise StoreUnavailable(LOG_UNREACHABLE, "The log did not answer lately and is not asked now.")
        replies = await self._send(
            [claims.stage(each.event_id, each.body, answer, record) for each, answer, record in finished]
        )
        found = [Claims.read(reply) for reply in replies]
        ours = [
            (submission, Claim(Standing.STAGED, answer=answer, record=record))
            for claim, (submission, answer, record) in zip(found, finished, strict=True)
            if claim.standing is Standing.OURS
        ]
        if ours and not await self._settled(ours):
            raise StoreUnavailable(LOG_UNREACHABLE, "The log does not answer.")
        return found

    async def _settled(self, staged: Sequence[tuple[Submission, Claim]]) -> bool:
        """Append staged decisions and settle their claims; False when the log did not confirm them."""
        if self._elsewhere is None or not self.log_breaker.allows():
            return False
        try:
            await self._elsewhere([(submission.event_id, claim.record) for submission, claim in staged])
        except LogError as error:
            self.log_breaker.failed()
            log.warning("%s", error)
            return False
        self.log_breaker.succeeded()
        claims = self._known_claims()
        with contextlib.suppress(StoreUnavailable):  # it is logged: a repeat of the payment will settle it
            await self._send(
                [
                    claims.settle(submission.event_id, submission.body, claim.answer)
                    for submission, claim in staged
                ]
            )
        return True

    def _known_claims(self) -> Claims:
        if self._claims is None or not self.breaker.allows():
            raise StoreUnavailable(REDIS_UNREACHABLE, "Redis did not answer lately and is not asked now.")
        return self._claims

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = await exchange_async(self._client, commands)
            if any(
                isinstance(reply, NoScriptError) for reply in replies
            ):  # Redis was restarted without its file
                await self._load_scripts()
                replies = await exchange_async(self._client, commands)
        except RedisError as error:
            self.breaker.failed()
            raise StoreUnavailable(REDIS_UNREACHABLE, f"Redis does not answer: {error}.") from error
        for reply in replies:
            if isinstance(reply, RedisError):
                raise StoreUnavailable(REDIS_UNREACHABLE, f"Redis refused a command: {reply}.") from reply
        self.breaker.succeeded()
        return replies

    async def _load_scripts(self) -> None:
        for script in SCRIPTS:
            await self._client.script_load(script)


def _too_slow(code: str = REDIS_UNREACHABLE) -> StoreUnavailable:
    return StoreUnavailable(code, "No answer came within its share of the deadline.")


def _left(deadline: float) -> float:
    """Seconds until `deadline`."""
    return max(deadline - time.monotonic(), LEAST_S)

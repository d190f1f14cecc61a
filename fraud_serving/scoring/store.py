"""The three round trips to Redis of a scoring request: claim, apply, then append and store.

Each carries any number of payments, in order. The claim goes first and alone, because only its answer tells whose event
this is: a body that is refused must not touch any entity's state, and a payment that was answered long ago, which the
state has forgotten, must not be applied again. Applying in the same trip would save some 0.1 ms and give up both.

All three live on one deadline: each gets a share of what is left of it. A decision whose logging does not end in time is
answered as not logged, and goes on being logged. An update that is too slow goes on as well, and what it gave is logged with
the decision that was made without it.

The append is what counts: while a rebuild hands over to a new epoch, it refuses what was applied to the old one, and the
payment is applied to the new one instead (see fraud_core.features.handover).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from fraud_core.errors import LogError, StateError, StateLost
from fraud_core.features import Applied, AsyncOnlineState, EntityFeatures
from fraud_core.features.server import ServerFacts
from fraud_core.features.wire import Command, exchange_async
from fraud_serving.models.breaker import Breaker
from fraud_serving.scoring import metrics
from fraud_serving.scoring.applying import apply_each, refused_alone
from fraud_serving.scoring.claims import SCRIPTS, Claim, Claims, Standing
from fraud_serving.scoring.flip import FENCE_POLL_S, Flip
from fraud_serving.scoring.staging import Elsewhere, Staging, staged_by_us
from fraud_serving.scoring.submission import Finished, Submission
from fraud_serving.scoring.unavailable import (
    LOG_UNREACHABLE,
    REDIS_UNREACHABLE,
    STATE_LOST,
    STATE_REBUILDING,
    STATE_UNAVAILABLE,
    Pending,
    StoreUnavailable,
    left,
    not_asked,
    too_slow,
)
from fraud_serving.scoring.watch import StateWatch

log = logging.getLogger(__name__)

_LEASE_OF_STAGED_MS = 500
Result = TypeVar("Result")
SHARE = 0.6
"""Of what is left of the deadline, what claiming and applying may each take."""
FLIP_SHARE = 0.5
"""Of what is left of the deadline, how long a rebuild's handover may be waited for."""
HOLD_S = 5.0
"""Longest wait for a rebuild that reads the log to its end; its fence ends long before."""


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
        self.breaker = Breaker(failures=3, retry_after_s=0.5)
        self.log_breaker = Breaker(failures=3, retry_after_s=0.5)
        self._staging = elsewhere and Staging(elsewhere, self._known_claims, self._send, self.log_breaker)
        self._late: set[asyncio.Task[Any]] = set()
        """Updates and loggings that go on after their answer was given."""
        self._watch = StateWatch(client, state)
        self._flip = Flip(client, state)
        self._looking = asyncio.Lock()

    async def tend(self) -> None:
        """Connect, load what Redis must know, notice what is wrong; called in the background. Never raises.

        One look at a time: one that began before a change may not report after one that saw it.
        """
        async with self._looking:
            await self._tend()

    async def _tend(self) -> None:
        try:
            if self._claims is None or self.problem:
                made, known = await asyncio.to_thread(self._make_claims), self._claims
                if known is not None:
                    made.remember(known)
                self._claims = made
                await self._load_scripts()
            await self._watch.look(self._claims)  # whatever the breaker says: this is what closes it
        except (StateError, RedisError, LogError) as error:
            self.problem = str(error)
            return
        self.problem = None
        self.breaker.succeeded()

    @property
    def problem(self) -> str | None:
        """Why the store cannot be used in full, for people; None when it can."""
        return self._watch.problem

    @problem.setter
    def problem(self, words: str | None) -> None:
        self._watch.problem = words

    @property
    def facts(self) -> ServerFacts | None:
        """What the server last said of itself."""
        return self._watch.facts

    async def claim_and_apply(
        self, submissions: Sequence[Submission], deadline: float
    ) -> tuple[list[Claim], list[Applied | StoreUnavailable | None] | StoreUnavailable]:
        """Claim the ids and apply the events; None for an event that was not applied because it is not ours.

        The state may be unavailable while claims work; then its error comes back as a value, in an event's place where it is
        about that event alone.
        `deadline` is a time of time.monotonic(). Raises StoreUnavailable when Redis cannot be reached in time.
        """
        claims = await self._claim(submissions, deadline)
        ours = [place for place, claim in enumerate(claims) if claim.standing is Standing.OURS]
        applied: list[Applied | StoreUnavailable | None] = [None] * len(submissions)
        found = await self.apply([submissions[place] for place in ours], deadline)
        if isinstance(found, StoreUnavailable):
            return claims, found
        for place, each in zip(ours, found, strict=True):
            applied[place] = each
        return claims, applied

    async def _claim(self, submissions: Sequence[Submission], deadline: float) -> list[Claim]:
        claims = self._known_claims()
        try:
            async with asyncio.timeout(left(deadline) * SHARE):
                replies = await self._send([claims.claim(each.event_id, each.body) for each in submissions])
        except TimeoutError as error:
            self.breaker.failed()
            raise too_slow() from error
        found = [Claims.read(reply) for reply in replies]
        self._heed_closing(found)
        staged = [place for place, claim in enumerate(found) if claim.standing is Standing.STAGED]
        if staged:
            settled = await self._settle(deadline, [(submissions[place], found[place]) for place in staged])
            for place in staged:
                found[place] = (
                    Claim(Standing.ANSWERED, answer=found[place].answer)
                    if settled
                    else Claim(Standing.BUSY, lease_ms=_LEASE_OF_STAGED_MS)
                )
        return found

    async def _settle(self, deadline: float, staged: Sequence[tuple[Submission, Claim]]) -> bool:
        """Append what another process staged, by `deadline`."""
        if self._staging is None:
            return False
        return bool(await self._by(deadline, self._staging.settled(staged)))

    def _heed_closing(self, claims: Sequence[Claim]) -> None:
        """Wait with applying when the epoch gives way: what is applied to it now might not be logged before its end."""
        told = max(claims, key=lambda claim: claim.closing, default=None)
        if told and told.closing and self._watch.has_state and told.closing >= self._state.epoch():
            self._flip.expect(self._state.epoch(), told.lease_ms)

    async def apply(
        self, submissions: Sequence[Submission], deadline: float
    ) -> list[Applied | StoreUnavailable] | StoreUnavailable:
        """Apply events that are ours, once a rebuild that is handing over has done so.

        An event that alone was refused (it was repeated too late, say) has that error in its place.
        """
        if not submissions:
            return []
        try:
            if not self._watch.has_state:
                raise self._watch.no_state()
            await self._flip.wait(time.monotonic() + left(deadline) * FLIP_SHARE)
            events = [(each.event, each.event_id) for each in submissions]
            task = self._going_on(apply_each(self._state, self._watch, events))
            done, _ = await asyncio.wait({task}, timeout=left(deadline) * SHARE)
            return refused_alone(task.result()) if done else too_slow(pending=task)
        except StoreUnavailable as error:
            return error
        except StateLost as error:
            self._watch.forget(str(error), lost=True)
            return StoreUnavailable(STATE_LOST, str(error))
        except (StateError, RedisError) as error:
            return StoreUnavailable(STATE_UNAVAILABLE, str(error))

    async def read(self, entity: str, id: str, as_of_ms: int) -> EntityFeatures:
        """The features of one entity, see AsyncOnlineState.read. Raises StateError."""
        if not self.breaker.allows():
            raise not_asked()
        if not self._watch.has_state:
            raise self._watch.no_state()
        return await self._state.read(entity, id, as_of_ms)

    async def finish(self, finished: Sequence[Finished], deadline: float) -> list[Claim]:
        """Log decisions and store their answers. One round trip.

        With the log elsewhere it takes two, and the append between them. FENCED or LOST in a reply: that decision was not
        logged; apply the payment anew and decide again. Raises StoreUnavailable, also when it did not end by
        `deadline`; then nothing is known to be logged, and a retry of the payment settles it.
        """
        claims = self._known_claims()
        if self._staging is None and left(deadline) >= self._trip_s:
            # Nearly always, and without a task of its own: the client's own limit ends a trip in time.
            at_once = await self._finish_once(claims, finished)
            if not _held(at_once):
                return at_once
            work = self._past_the_hold(claims, finished, at_once)
        else:
            work = self._finish(claims, finished)
        found = await self._by(deadline, work)
        if found is None:
            raise too_slow(REDIS_UNREACHABLE if self._staging is None else LOG_UNREACHABLE)
        return found

    async def finish_late(
        self,
        pending: Pending,
        finished: Callable[[Sequence[Applied | StateError] | None], Sequence[Finished]],
        deadline: float,
    ) -> list[Claim]:
        """As `finish`, once it is known what became of an update that was too slow for the decision.

        `finished` gives what to log: with the places in the entities' order that the update got after all, or without (None).
        An update that no decision tells of would be missing where features are computed from the lake.
        """
        claims = self._known_claims()

        async def work() -> list[Claim]:
            try:
                applied: Sequence[Applied | StateError] | None = await pending
            except (StateError, RedisError):
                applied = None
            return await self._finish(claims, finished(applied))

        found = await self._by(deadline, work())
        if found is None:
            raise too_slow()
        return found

    async def settle(self, timeout_s: float) -> None:
        """Wait for updates and loggings that go on after their answer was given."""
        if self._late:
            await asyncio.wait(self._late, timeout=timeout_s)

    async def _by(self, deadline: float, work: Coroutine[Any, Any, Result]) -> Result | None:
        """What `work` gives by `deadline`; None when it does not end by then, and goes on."""
        task = self._going_on(work)
        done, _ = await asyncio.wait({task}, timeout=left(deadline))
        return task.result() if done else None

    def _going_on(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # told already: the answer said that it was not logged

    async def _finish(self, claims: Claims, finished: Sequence[Finished]) -> list[Claim]:
        if self._staging is not None:
            self._staging.demand_open()
        return await self._past_the_hold(claims, finished, await self._finish_once(claims, finished))

    async def _finish_once(self, claims: Claims, finished: Sequence[Finished]) -> list[Claim]:
        found = list(map(Claims.read, await self._send([self._finishing(claims, each) for each in finished])))
        if self._staging is not None:
            await self._staging.append(staged_by_us(zip(finished, found, strict=True)))
        for each, claim in zip(finished, found, strict=True):
            await self._learn(claims, claim, each)
        return found

    async def _past_the_hold(
        self, claims: Claims, finished: Sequence[Finished], found: list[Claim]
    ) -> list[Claim]:
        """Send again what a rebuild held, until it is let through."""
        give_up = time.monotonic() + HOLD_S
        while held := _held(found):
            if time.monotonic() > give_up:
                raise StoreUnavailable(STATE_REBUILDING, "A rebuild holds the log for longer than it may.")
            metrics.FENCED.labels("held").inc(len(held))
            await asyncio.sleep(FENCE_POLL_S)
            again = await self._finish_once(claims, [finished[place] for place in held])
            for place, claim in zip(held, again, strict=True):
                found[place] = claim
        return found

    def _finishing(self, claims: Claims, finished: Finished) -> Command:
        submission, answer, record, epoch = finished
        make = claims.finish if self._staging is None else claims.stage
        return make(submission.event_id, submission.body, answer, record, epoch=epoch)

    async def _learn(self, claims: Claims, claim: Claim, of: Finished) -> None:
        submission, _, _, epoch = of
        if claim.standing is Standing.OURS:
            claims.note(submission.event_id, claim, epoch)
        elif claim.standing is Standing.FENCED:
            metrics.FENCED.labels("refused").inc()
            self._flip.expect(epoch, claim.lease_ms)
        elif claim.standing is Standing.LOST and self._watch.has_state:
            try:
                await self._watch.withdraw(epoch, "acknowledged decisions are gone from the log")
            except (StateLost, RedisError) as error:  # not withdrawn yet: the next look sees the loss as well
                self._watch.forget(str(error), lost=True)

    def _known_claims(self) -> Claims:
        if self._claims is None or not self.breaker.allows():
            raise not_asked()
        return self._claims

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            replies = await exchange_async(self._client, commands)
            # As where Redis was restarted without its file.
            if any(isinstance(reply, NoScriptError) for reply in replies):
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


def _held(found: Sequence[Claim]) -> list[int]:
    return [place for place, claim in enumerate(found) if claim.standing is Standing.HELD]

"""Decisions on their way to a log that is not in Redis: staged beside their claims, appended, settled.

One step cannot append and store the answer there. Whoever finds a staged decision whose lease ran out appends those very bytes
again; ingestion knows the copy for a duplicate.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from fraud_core.errors import LogError
from fraud_core.features.wire import Command
from fraud_serving.models.breaker import Breaker
from fraud_serving.scoring.claims import Claim, Claims, Standing
from fraud_serving.scoring.submission import Finished, Submission
from fraud_serving.scoring.unavailable import LOG_UNREACHABLE, StoreUnavailable

log = logging.getLogger(__name__)

Elsewhere = Callable[[Sequence[tuple[str, bytes]]], Awaitable[None]]
"""Appends decisions, (event id, record) each, to a log that is not in Redis. Raises LogError."""


class Staging:
    """The way to such a log, behind a breaker of its own. `send` is one round trip to Redis."""

    def __init__(
        self,
        append: Elsewhere,
        claims: Callable[[], Claims],
        send: Callable[[Sequence[Command]], Awaitable[list[Any]]],
        breaker: Breaker,
    ) -> None:
        self._append, self._claims, self._send = append, claims, send
        self._breaker = breaker

    def demand_open(self) -> None:
        """Raises StoreUnavailable while the log is not asked."""
        if not self._breaker.allows():
            raise StoreUnavailable(LOG_UNREACHABLE, "The log did not answer lately and is not asked now.")

    async def append(self, staged: Sequence[tuple[Submission, Claim]]) -> None:
        """Append what this process staged, the log being asked. Raises StoreUnavailable when it did not confirm it."""
        if staged and not await self._confirmed(staged):
            raise StoreUnavailable(LOG_UNREACHABLE, "The log does not answer.")

    async def settled(self, staged: Sequence[tuple[Submission, Claim]]) -> bool:
        """Append what others staged, and settle their claims; False when the log did not confirm it, or is not asked."""
        return self._breaker.allows() and await self._confirmed(staged)

    async def _confirmed(self, staged: Sequence[tuple[Submission, Claim]]) -> bool:
        # The breaker was asked already: while it is open, it lets one caller through, who must not ask a second time.
        try:
            await self._append([(submission.event_id, claim.record) for submission, claim in staged])
        except LogError as error:
            self._breaker.failed()
            log.warning("%s", error)
            return False
        self._breaker.succeeded()
        with contextlib.suppress(StoreUnavailable):  # it is logged: a repeat of the payment will settle it
            claims = self._claims()
            await self._send(
                [
                    claims.settle(submission.event_id, submission.body, claim.answer)
                    for submission, claim in staged
                ]
            )
        return True


def staged_by_us(finished: Iterable[tuple[Finished, Claim]]) -> list[tuple[Submission, Claim]]:
    """What this process staged, as whoever found it would have it."""
    return [
        (submission, Claim(Standing.STAGED, answer=answer, record=record))
        for (submission, answer, record, _), claim in finished
        if claim.standing is Standing.OURS
    ]

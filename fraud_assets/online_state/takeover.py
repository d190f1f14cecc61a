"""The moment in which a new epoch takes over: let payments finish, fence the old epoch, drain the log, record, flip.

See fraud_core.features.handover for what the fence promises.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from redis.exceptions import RedisError

from fraud_assets.ingestion.failpoint import Failpoint
from fraud_assets.online_state.follower import CAUGHT_UP_ROWS, Follower
from fraud_assets.online_state.labels import Ends
from fraud_assets.online_state.lease import Lease
from fraud_core.errors import StateError
from fraud_core.features.handover import MARGIN_MS, Fence, Handover
from fraud_core.settings import Settings

ATTEMPTS: Final = 5
MOST_CLOSING_S: Final = 1.0
SILENT_S: Final = 0.05
"""Longer than a payment takes from its update to its logging."""


class Takeover:
    """Of one rebuild. `record` is given what of each shard of the decisions was read, before the flip."""

    def __init__(  # noqa: PLR0917
        self,
        settings: Settings,
        handover: Handover,
        lease: Lease,
        follower: Follower,
        record: Callable[[Ends], None],
        failpoint: Failpoint,
    ) -> None:
        self._settings, self._handover, self._lease = settings, handover, lease
        self._follower, self._record, self._failpoint = follower, record, failpoint

    def run(self, epoch: int) -> tuple[Fence, int]:
        """Make `epoch` current; returns the fence and how many attempts it took.

        Raises StateError when that takes longer than the fence may stand.
        """
        fence_ms = int(self._settings.state_fence_s * 1000)
        for attempt in range(1, ATTEMPTS + 1):
            self._lease.check()
            self._let_finish(epoch - 1)
            fence = self._handover.fence(epoch - 1, fence_ms)
            try:
                self._failpoint("state_fenced")
                drained = self._drain(fence, fence_ms)
                if drained:
                    self._failpoint("state_drained")
                    self._record(self._follower.tail.positions)
                    self._failpoint("state_recorded")
            except BaseException:
                with suppress(RedisError):  # it ends by itself
                    self._handover.lift()
                raise
            # Not lifted where this fails: it may have been made, and then nothing of the old epoch may follow.
            if drained and self._handover.flip(epoch, fence):
                return fence, attempt
            self._handover.lift()
            self._follower.catch_up()
        raise StateError(
            f"The new epoch was expected to take over within {self._settings.state_fence_s:g} s (SPEARHEAD_STATE_FENCE_S); {ATTEMPTS} "
            "attempts took longer. The old state stands. Raise it, or run the rebuild when there is less traffic."
        )

    def _let_finish(self, epoch: int) -> None:
        """Until payments that were applied to the old epoch are logged: what others saw of them must not be missing from it.

        Nobody applies anything to it any more meanwhile, so its log falls silent; at most a request's whole time is waited.
        """
        most_s = min(self._settings.deadline_ms / 1000, MOST_CLOSING_S)
        self._handover.closing(epoch, int(most_s * 1000) + MARGIN_MS)
        began = silent_since = time.monotonic()
        seen = self._handover.appended()
        while (now := time.monotonic()) - began < most_s and now - silent_since < SILENT_S:
            time.sleep(0.005)
            if (found := self._handover.appended()) != seen:
                seen, silent_since = found, time.monotonic()

    def _drain(self, fence: Fence, fence_ms: int) -> bool:
        """Read the log to its end, which stands still from the hold on; False when the fence ended first, and with it the standstill."""
        self._wait_for_appends()
        # Not to its very end: without a state, decisions are appended all the time until they are held.
        while (self._follower.drain() or 0) >= CAUGHT_UP_ROWS and fence.age_ms < fence_ms:
            pass
        self._handover.hold()  # from here on nothing is appended, with a state or without
        self._wait_for_appends()
        while self._follower.drain() is not None:
            if fence.age_ms >= fence_ms:  # decisions come again, perhaps faster than they are folded
                return False
        return True

    def _wait_for_appends(self) -> None:
        """Where the log is not in Redis, a decision passes its gate first and is appended then, within its deadline or not at all."""
        if self._settings.log == "kafka":
            time.sleep(self._settings.deadline_ms / 1000)

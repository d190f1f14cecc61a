"""A payment that meets a rebuild's handover waits for the new epoch, as long as its deadline allows."""

import asyncio
import time
from typing import Any, Final

from fraud_core.features import AsyncOnlineState
from fraud_serving.scoring import metrics
from fraud_serving.scoring.unavailable import STATE_REBUILDING, StoreUnavailable

FENCE_POLL_S: Final = 0.01


class Flip:
    """The epoch that gives way, as this process was told."""

    def __init__(self, client: Any, state: AsyncOnlineState) -> None:
        self._client, self._state = client, state
        self._epoch, self._until = 0, 0.0
        """Until when (time.monotonic()) that may take at most."""
        self._polled = 0.0

    def expect(self, epoch: int, within_ms: float) -> None:
        """`epoch` gives way within so many milliseconds."""
        self._epoch, self._until = epoch, time.monotonic() + within_ms / 1000

    async def wait(self, until: float) -> None:
        """Return once the epoch that gives way has done so. Raises StoreUnavailable when that takes too long, RedisError."""
        while time.monotonic() < self._until:
            if time.monotonic() >= until:
                metrics.FENCED.labels("degraded").inc()
                raise StoreUnavailable(
                    STATE_REBUILDING, "The online state is being handed over to a new epoch."
                )
            if time.monotonic() - self._polled >= FENCE_POLL_S:
                self._polled = time.monotonic()
                epoch = await self._client.get(self._state.calls.epoch_key)
                if epoch is None or int(epoch) != self._epoch:
                    self._epoch, self._until = 0, 0.0
                    return
            await asyncio.sleep(FENCE_POLL_S)

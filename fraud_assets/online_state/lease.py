"""The right to rebuild, held by one process at a time and renewed while it works."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from redis.exceptions import RedisError

from fraud_core.errors import StateError
from fraud_core.features.handover import Handover

LEASE_S: Final = 15.0
RENEW_S: Final = 3.0


class Lease:
    """Of one rebuild."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._lost = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it, renewed by a thread. Raises StateError when another rebuild has it."""
        self._handover.acquire(LEASE_S)
        stop = threading.Event()

        def keep() -> None:
            while not stop.wait(RENEW_S):
                try:
                    if not self._handover.renew(LEASE_S):
                        self._lost.set()
                except RedisError:  # the lease may outlive a short absence; the flip looks again
                    continue

        keeper = threading.Thread(target=keep, name="rebuild-lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            stop.set()
            keeper.join()
            with suppress(RedisError):  # it ends by itself
                self._handover.release()

    def check(self) -> None:
        """Raises StateError when it is no longer ours."""
        if self._lost.is_set():
            raise StateError(
                "The rebuild lost its lease: Redis lost it, or this process stood still for too long and another began. Nothing "
                "was changed; look at `spearhead state status`, then run it again."
            )

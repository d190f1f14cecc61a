"""A breaker per dependency: after some failures in a row it is not asked for a while, so that nobody waits for it."""

import time
from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row; `retry_after_s` later one caller may try again.

    With `retry_after_s` None only `succeeded` closes it, for dependencies that a background task probes.
    """

    def __init__(
        self,
        failures: int = 3,
        retry_after_s: float | None = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the dependency is held to be down."""
        return self._failures >= self._limit

    def allows(self) -> bool:
        """Whether to ask the dependency now. While open, one caller per `retry_after_s` is let through."""
        if not self.is_open:
            return True
        if self._retry_after_s is None or self._clock() < self._retry_at:
            return False
        self._retry_at = self._clock() + self._retry_after_s
        return True

    def succeeded(self) -> None:
        """The dependency answered: close."""
        self._failures = 0

    def failed(self) -> None:
        """The dependency did not answer."""
        self._failures += 1
        if self.is_open and self._retry_after_s is not None:
            self._retry_at = self._clock() + self._retry_after_s

"""A Valkey that loses what it held, in the ways that a Redis does in life, always at the same address."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import redis

from fraud_core.errors import PlatformError
from fraud_core.log.valkey import start_valkey

LOSSES: Final = ("wiped", "restarted_empty", "failed_over", "evicted")
_LATE_S: Final = 30.0
_ACKNOWLEDGED: Final = 10
"""Decisions that a fail-over loses at least."""
_EVICTED: Final = 20
"""Keys that an eviction takes at least."""


class LosingServer:
    """A server at `port`; each loss returns the time.monotonic() at which it was complete."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self.port = folder, port
        self._server = start_valkey(folder / "valkey-0", port)

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def lose(self, loss: str, acknowledged: Callable[[], int]) -> float:
        """Bring about one of LOSSES. `acknowledged`: how many decisions were answered as logged so far."""
        if loss == "failed_over":
            return self._failed_over(acknowledged)
        if loss == "evicted":
            return self._evicted()
        return self._wiped() if loss == "wiped" else self._restarted_empty()

    def _wiped(self) -> float:
        with redis.Redis(port=self.port) as client:
            client.flushall()
            client.function_flush()
        return time.monotonic()

    def _restarted_empty(self) -> float:
        self._kill()
        self._server = start_valkey(self._folder / f"valkey-{time.monotonic_ns()}", self.port)
        return time.monotonic()

    def _failed_over(self, acknowledged: Callable[[], int]) -> float:
        """A replica is cut off, the primary goes on acknowledging and dies, the replica takes its place."""
        replica = start_valkey(self._folder / f"replica-{time.monotonic_ns()}", 0)
        with redis.Redis(port=replica.port) as other:
            other.replicaof("127.0.0.1", self.port)
            _wait(
                lambda: other.info("replication").get("master_link_status") == "up",
                "its replica comes up to the primary",
            )
            other.replicaof("NO", "ONE")
        before = acknowledged()
        _wait(
            lambda: acknowledged() >= before + _ACKNOWLEDGED,
            "payments are logged that the replica does not get",
        )
        self._kill()
        replica.stop()  # its address becomes the primary's, as behind a proxy: started again there, on its own file
        self._server = start_valkey(replica.data_dir, self.port)
        return time.monotonic()

    def _evicted(self) -> float:
        """Somebody lets the server evict what has a time to live, entities' states among it, while it is full, and mends that again."""
        with redis.Redis(port=self.port) as client:
            before = client.info("stats")["evicted_keys"]
            client.config_set("maxmemory-policy", "volatile-lru")
            client.config_set("maxmemory", 1)
            _wait(lambda: client.info("stats")["evicted_keys"] >= before + _EVICTED, "keys are evicted")
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")
        return time.monotonic()

    def _kill(self) -> None:
        self._server.process.kill()
        self._server.process.wait()


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _LATE_S
    while not condition():
        if time.monotonic() > deadline:
            raise PlatformError(f"The drill waited for {_LATE_S:g} s and it did not come about: {what}.")
        time.sleep(0.05)

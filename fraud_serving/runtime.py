"""Everything that scores, put together from the settings: what the HTTP service and the stream scorer share.

It starts whatever is missing (Redis, a model, Triton) and says so in `readiness`; a background task looks after the
rest once a second. One runtime belongs to one event loop.
"""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import LogUnavailable
from fraud_core.features import AsyncOnlineState, FeatureSet, load_features
from fraud_core.log import json_entry, open_log
from fraud_core.log.open import open_kafka
from fraud_core.redis_connection import connect_redis_async
from fraud_core.redis_connection.address import place
from fraud_core.settings import Settings
from fraud_serving.models.live import LiveModels
from fraud_serving.models.onnxruntime import OnnxRuntimeBackend
from fraud_serving.models.triton import TritonBackend
from fraud_serving.scoring import metrics
from fraud_serving.scoring.claims import STREAM, Claims
from fraud_serving.scoring.fallback import load_fallback
from fraud_serving.scoring.scorer import Scorer
from fraud_serving.scoring.store import Store

if TYPE_CHECKING:
    from fraud_core.log.kafka import KafkaLog

log = logging.getLogger(__name__)

TEND_EVERY_S = 1.0
REDIS_SHARE = 0.6
"""Share of the deadline that one round trip to Redis may take."""


@dataclass(frozen=True)
class Readiness:
    """Whether every part is there, and what is missing, for people."""

    ready: bool
    missing: dict[str, str]


class Runtime:
    """The parts of one scoring process. Create, `start`, use `scorer`, `stop`."""

    def __init__(self, settings: Settings, *, source: str) -> None:
        self.settings = settings
        self.contracts: Contracts = load_contracts(settings.contracts)
        self.features: FeatureSet = load_features(self.contracts.features_path, self.contracts)
        self._fallback = load_fallback(
            self.contracts.folder, self.contracts.transactions, self.features.names, settings.default_decision
        )
        self._source = source
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._decisions: KafkaLog | None = None

    async def start(self) -> None:
        """Connect to what is there; returns even when nothing is."""
        settings = self.settings
        timeout_s = settings.deadline_ms / 1000 * REDIS_SHARE
        self._redis: Redis = connect_redis_async(
            settings.redis_address,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self.state = AsyncOnlineState(self._redis, self.features, settings.namespace)
        self.store = Store(
            self._redis,
            self.state,
            self._claims,
            self._append_decisions if settings.log == "kafka" else None,
            trip_s=timeout_s,
        )
        self.local = OnnxRuntimeBackend()
        self.remote: TritonBackend | None = None
        if settings.backend != "onnxruntime":
            self.remote = TritonBackend(settings.triton_address, settings.triton_repository_path)
        self.models = LiveModels(settings.bundles_path, self.features, self.local, self.remote)
        self.scorer = Scorer(
            self.store,
            self.features,
            self.models,
            local=self.local,
            remote=self.remote,
            fallback=self._fallback,
            deadline_s=settings.deadline_ms / 1000,
            source=self._source,
        )
        await self._tend()
        self._task = asyncio.create_task(self._tend_forever())
        # What lives now lives as long as the process: keep the collector off it, and off the hot path.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    async def stop(self) -> None:
        """Finish what was begun, end the background task and close the connections."""
        await self.scorer.settle()
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.remote is not None:
            await self.remote.close()
        await self.local.close()
        await self._redis.aclose()
        if self._decisions is not None:
            await asyncio.to_thread(self._decisions.close)

    def readiness(self) -> Readiness:
        """What is missing before this process scores as it should."""
        missing: dict[str, str] = {}
        if self.store.problem:
            missing["state"] = self.store.problem
        elif self.store.breaker.is_open:
            missing["state"] = f"Redis does not answer at {place(self.settings.redis_address)}."
        if self.store.log_breaker.is_open:
            missing["log"] = f"Kafka does not take decisions at {self.settings.kafka_servers}."
        if self.models.current.problem:
            missing["model"] = self.models.current.problem
        if self.settings.backend == "triton" and (reason := self.triton_problem()):
            missing["triton"] = (
                f"{reason}: Triton at {self.settings.triton_address} does not serve the champion."
            )
        # A model that serves while the champion cannot be loaded is worth an alarm, not an outage.
        live = self.models.current
        blocking = missing.keys() - ({"model"} if live.champion or live.previous else set())
        return Readiness(not blocking, missing)

    def triton_problem(self) -> str | None:
        """Why the champion does not run in Triton: a fallback reason; None when it does or is not meant to."""
        champion = self.models.current.champion
        if self.remote is None or champion is None:
            return None
        return self.remote.health(champion.version)

    async def _append_decisions(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Append to a log that is not in Redis; a payment's copies go to one shard, where ingestion tells them apart."""
        if self._decisions is None:
            raise LogUnavailable("The log of decisions is not connected yet; it is tried again every second.")
        entries, ids = [json_entry(record) for _, record in records], [event_id for event_id, _ in records]
        await asyncio.wrap_future(self._decisions.append_soon(STREAM, entries, ids))

    def _claims(self) -> Claims:
        lease_ms = max(1000, 2 * self.settings.deadline_ms)
        if self.settings.log == "kafka":
            if self._decisions is None:
                decisions = open_kafka(
                    self.settings, append_timeout_s=self.settings.deadline_ms / 1000 * REDIS_SHARE
                )
                decisions.append_soon(STREAM, [])  # asks about the topic now, not during a payment
                self._decisions = decisions
            return Claims(self.settings.namespace, None, ttl_s=self.settings.claim_ttl_s, lease_ms=lease_ms)
        events = open_log(self.settings)
        try:
            shards = len(events.shards(STREAM))
        finally:
            events.close()
        return Claims(self.settings.namespace, shards, ttl_s=self.settings.claim_ttl_s, lease_ms=lease_ms)

    async def _ask_log(self) -> None:
        """Close the breaker of a log elsewhere that answers again: a process that is not ready gets no payment to try it with."""
        if self._decisions is None or not self.store.log_breaker.is_open:
            return
        if await asyncio.to_thread(self._decisions.answers, STREAM, TEND_EVERY_S):
            self.store.log_breaker.succeeded()

    async def _tend(self) -> None:
        await self.store.tend()
        await self._ask_log()
        await self.models.refresh()
        if self.remote is not None:
            await self.remote.mend()
        metrics.GENERATION.set(self.models.current.generation)
        metrics.MODEL_PROBLEM.set(bool(self.models.current.problem))
        metrics.DEPENDENCY_UP.labels("redis").set(not self.store.problem and not self.store.breaker.is_open)
        if self.settings.log == "kafka":
            metrics.DEPENDENCY_UP.labels("kafka").set(
                self._decisions is not None and not self.store.log_breaker.is_open
            )
        if self.remote is not None:
            metrics.DEPENDENCY_UP.labels("triton").set(self.triton_problem() is None)

    async def _tend_forever(self) -> None:
        while (
            not self._stopping
        ):  # a cancellation can be lost on its way: asyncio.wait_for of Python 3.11 swallows some
            await asyncio.sleep(TEND_EVERY_S)
            try:
                await self._tend()
            except Exception:  # the keeper of all fallbacks must outlive what nobody thought of
                log.exception("Looking after the service failed; trying again.")

"""The model in Triton, over gRPC.

Requests never probe a Triton that failed: its breaker opens, the ladder goes on in process, and `mend`, called every
second in the background, brings versions back once their golden rows score right. Readiness as Triton tells it is no
proof: it stays true after the model's process was killed, and only unloading and loading mends that.
"""

import asyncio
import logging
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from fraud_core.errors import SpearheadError
from fraud_core.release import Bundle
from fraud_serving.models.backend import INPUT, OUTPUT, BackendFailed, Matrix
from fraud_serving.models.breaker import Breaker
from fraud_serving.models.repository import publish, withdraw

log = logging.getLogger(__name__)

LOAD_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 2.0
UNREACHABLE = "triton_unreachable"
NOT_LOADED = "triton_not_loaded"
TIMEOUT = "triton_timeout"
FAILED = "triton_failed"
# gRPC's own waits between attempts grow to two minutes; a restarted server should be found within a second.
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class TritonBackend:
    """Implements Backend. Must be created in the event loop that uses it."""

    name = "triton"

    def __init__(self, address: str, repository: Path) -> None:
        self._client = InferenceServerClient(address, channel_args=CHANNEL)
        self._address = address
        self._repository = repository
        self._bundles: dict[str, Bundle] = {}
        self._ready: set[str] = set()
        self._problem = UNREACHABLE
        self._breaker = Breaker(failures=3, retry_after_s=None)
        self._outputs = [InferRequestedOutput(OUTPUT)]
        self._changing = asyncio.Lock()
        """One at a time: two who bring a version up would unload it under each other."""

    async def load(self, bundle: Bundle) -> None:
        async with self._changing:
            self._bundles[bundle.version] = bundle
            try:
                await self._bring_up(bundle)
            except BackendFailed as error:
                self._problem = error.code
                raise
            self._breaker.succeeded()

    async def score(self, version: str, matrix: Matrix, timeout_s: float) -> Matrix:
        reason = self.health(version)
        if reason is not None:
            raise BackendFailed(reason, f"Triton at {self._address} cannot be asked for {version} now.")
        try:
            scores = await self._infer(version, matrix, timeout_s)
        except BackendFailed as error:
            self._breaker.failed()
            self._problem = error.code
            raise
        self._breaker.succeeded()
        return scores

    def health(self, version: str) -> str | None:
        if self._breaker.is_open:
            return self._problem
        if version not in self._ready:
            return self._problem if self._problem == UNREACHABLE else NOT_LOADED
        return None

    async def mend(self) -> None:
        """Bring back what was loaded before and does not answer now; returns soon when all is well, or nobody answers."""
        async with self._changing:
            await self._mend()

    async def _mend(self) -> None:
        for version, bundle in list(self._bundles.items()):
            if self.health(version) is None:
                continue
            try:
                await self._bring_up(bundle)
            except SpearheadError as error:
                self._ready.discard(version)
                self._problem = error.code if isinstance(error, BackendFailed) else FAILED
                log.debug("Triton at %s does not serve %s yet: %s", self._address, version, error)
                if self._problem == UNREACHABLE:
                    return
            else:
                log.info("Triton at %s serves %s", self._address, version)
        if self._ready or not self._bundles:  # those that did not answer were asked: what is ready now, is
            self._breaker.succeeded()

    async def unload(self, version: str) -> None:
        async with self._changing:
            self._ready.discard(version)
            if self._bundles.pop(version, None) is None:
                return
            try:
                await self._client.unload_model(version, client_timeout=PROBE_TIMEOUT_S)
            except InferenceServerException as error:
                log.debug("Triton at %s did not unload %s: %s", self._address, version, error)
            await asyncio.to_thread(withdraw, version, self._repository)

    async def close(self) -> None:
        await self._client.close()

    async def _bring_up(self, bundle: Bundle) -> None:
        """Load, unless it serves already; unload first where it claims to be ready and does not answer."""
        version = bundle.version
        try:
            if not await self._client.is_server_live(client_timeout=PROBE_TIMEOUT_S):
                raise BackendFailed(UNREACHABLE, f"Triton at {self._address} is not live.")
            if await self._client.is_model_ready(version, client_timeout=PROBE_TIMEOUT_S):
                try:
                    return await self._prove(bundle)
                except SpearheadError:
                    await self._client.unload_model(version, client_timeout=LOAD_TIMEOUT_S)
            await asyncio.to_thread(publish, bundle, self._repository)
            await self._client.load_model(version, client_timeout=LOAD_TIMEOUT_S)
        except InferenceServerException as error:
            raise _failed(error, f"Triton at {self._address} did not load {version}") from error
        except OSError as error:
            raise BackendFailed(
                FAILED,
                f"{version} should be written to Triton's repository {self._repository}: {error}. Free space, or give this "
                "user access; it is tried again every second.",
            ) from error
        await self._prove(bundle)
        return None

    async def _prove(self, bundle: Bundle) -> None:
        golden = bundle.golden()
        scores = await self._infer(bundle.version, golden.vectors, PROBE_TIMEOUT_S)
        golden.check(lambda _: scores, f"Triton at {self._address}")
        self._ready.add(bundle.version)

    async def _infer(self, version: str, matrix: Matrix, timeout_s: float) -> Matrix:
        tensor = InferInput(INPUT, list(matrix.shape), "FP32")
        tensor.set_data_from_numpy(matrix)
        try:
            answer = await self._client.infer(
                version, [tensor], outputs=self._outputs, client_timeout=timeout_s
            )
        except InferenceServerException as error:
            raise _failed(error, f"Triton at {self._address} did not score with {version}") from error
        probabilities = answer.as_numpy(OUTPUT)
        if probabilities is None or probabilities.shape != (len(matrix), 2):
            raise BackendFailed(FAILED, f"Triton at {self._address} gave no scores for {version}.")
        return np.ascontiguousarray(probabilities[:, 1])


def _failed(error: InferenceServerException, what: str) -> BackendFailed:
    status = error.status() or ""
    code = FAILED
    if "UNAVAILABLE" in status:
        code = UNREACHABLE
    elif "DEADLINE" in status:
        code = TIMEOUT
    elif "NOT_FOUND" in status:
        code = NOT_LOADED
    return BackendFailed(code, f"{what}: {error.message()}")

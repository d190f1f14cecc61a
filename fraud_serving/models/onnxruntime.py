"""The model in this very process: nearest, and there when everything else is down.

One thread per call (a row takes microseconds, and pools of threads collapse under contention); larger batches run in
a worker thread, because the session gives the interpreter back while it works.
"""

import asyncio
from typing import Any

import numpy as np

from fraud_core.errors import SpearheadError
from fraud_core.release import Bundle
from fraud_core.release.bundle import MODEL_ONNX
from fraud_serving.models.backend import INPUT, OUTPUT, BackendFailed, Matrix

ROWS_INLINE = 32


class OnnxRuntimeBackend:
    """Implements Backend with one onnxruntime session per version."""

    name = "onnxruntime"

    def __init__(self) -> None:
        self._sessions: dict[str, Any] = {}

    async def load(self, bundle: Bundle) -> None:
        if bundle.version not in self._sessions:
            self._sessions[bundle.version] = await asyncio.to_thread(_open_session, bundle)

    async def score(self, version: str, matrix: Matrix, timeout_s: float) -> Matrix:  # noqa: ARG002 - cannot wait
        session = self._sessions.get(version)
        if session is None:
            raise BackendFailed("model_not_loaded", f"{version} is not loaded in process.")
        try:
            if len(matrix) <= ROWS_INLINE:
                return _run(session, matrix)
            return await asyncio.to_thread(_run, session, matrix)
        except Exception as error:  # whatever onnxruntime raises is the model's
            raise BackendFailed("onnxruntime_failed", f"{version} failed in process: {error}") from error

    def health(self, version: str) -> str | None:
        return None if version in self._sessions else "model_not_loaded"

    async def unload(self, version: str) -> None:
        self._sessions.pop(version, None)

    async def close(self) -> None:
        self._sessions.clear()


def _open_session(bundle: Bundle) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            bundle.read(MODEL_ONNX), options, providers=["CPUExecutionProvider"]
        )
        bundle.golden().check(lambda vectors: _run(session, vectors), "ONNX Runtime in process")
    except SpearheadError:
        raise
    except Exception as error:  # onnxruntime's own errors have no base but this
        raise BackendFailed(
            "onnxruntime_failed", f"{bundle.version}: model.onnx cannot be used: {error}"
        ) from error
    return session


def _run(session: Any, matrix: Matrix) -> Matrix:
    probabilities: Matrix = session.run([OUTPUT], {INPUT: matrix})[0]
    return np.ascontiguousarray(probabilities[:, 1])

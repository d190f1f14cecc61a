"""The failure ladder of the model: Triton, the same ONNX in process, the previous model, then nobody.

What answers is what the caller is told: route, backend and, below the first step, why.
"""

import time
from dataclasses import dataclass

import numpy as np

from fraud_serving.models.backend import Backend, BackendFailed, Matrix
from fraud_serving.models.live import Live
from fraud_serving.models.loaded import LoadedModel

REMOTE_SHARE = 0.5
"""Share of the remaining time that the remote backend may take; the steps below it need next to nothing."""
NO_MODEL = "no_model"


@dataclass(frozen=True)
class Scored:
    """What a step of the ladder gave. `scores` float32 [rows], None when no model could be asked."""

    route: str
    backend: str
    scores: Matrix | None
    model: LoadedModel | None
    fallback_reason: str | None


async def score(
    live: Live, vectors: Matrix, local: Backend, remote: Backend | None, deadline: float
) -> Scored:
    """Score vectors float32 [rows, features] by the highest step that answers. Never raises.

    `deadline` is a time of time.monotonic().
    """
    champion, reason = live.champion, NO_MODEL
    if champion is not None:
        found, reason = await _score_champion(champion, vectors, local, remote, deadline)
        if found is not None:
            return found
    previous = live.previous
    if previous is not None:
        try:
            scores = _sound(await local.score(previous.version, previous.select(vectors), 0.0))
            return Scored("previous", local.name, scores, previous, reason)
        except BackendFailed as error:
            reason = error.code
    return Scored("none", "none", None, None, reason)


async def _score_champion(
    champion: LoadedModel, vectors: Matrix, local: Backend, remote: Backend | None, deadline: float
) -> tuple[Scored | None, str]:
    """What the champion gave, or None and why it gave nothing."""
    selected, reason = champion.select(vectors), None
    if remote is not None:
        reason = remote.health(champion.version)
        if reason is None:
            try:
                timeout_s = max((deadline - time.monotonic()) * REMOTE_SHARE, 0.005)
                scores = _sound(await remote.score(champion.version, selected, timeout_s))
                return Scored("champion", remote.name, scores, champion, None), ""
            except BackendFailed as error:
                reason = error.code
    try:
        scores = _sound(await local.score(champion.version, selected, 0.0))
    except BackendFailed as error:
        return None, error.code
    return Scored("champion", local.name, scores, champion, reason), ""


def _sound(scores: Matrix) -> Matrix:
    """A score that is no probability is a failure of the backend, never an approval."""
    if not bool(np.all((scores >= 0) & (scores <= 1))):
        raise BackendFailed("score_not_finite", "The model gave a score that is no probability.")
    return scores

"""Golden rows: vectors with the scores they must give, shipped in a bundle and replayed wherever it is loaded.

Invariant: what is read equals what was written, bit for bit. A float32 becomes the shortest decimal of its double; a
missing value is null and infinities are the strings "inf" and "-inf", because JSON has none of the three.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraud_core.errors import BundleError

Floats = npt.NDArray[np.float32]
Predict = Callable[[Floats], npt.NDArray[np.floating]]

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Golden:
    """Vectors float32 [rows, features] and the fraud probabilities float32 [rows] expected for them."""

    vectors: Floats
    scores: Floats

    def to_json(self) -> bytes:
        """One line per row: {"vector": […], "score": …}, as a JSON array."""
        rows = [
            json.dumps({"vector": [_encode(x) for x in vector], "score": float(score)}, allow_nan=False)
            for vector, score in zip(self.vectors, self.scores, strict=True)
        ]
        return ("[\n" + ",\n".join(rows) + "\n]\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Golden":
        """Read what `to_json` wrote. Raises BundleError when it is not that."""
        try:
            rows = json.loads(content)
            vectors = np.array([[_decode(x) for x in row["vector"]] for row in rows], dtype=np.float32)
            scores = np.array([row["score"] for row in rows], dtype=np.float32)
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(
                "golden.json should be an array of {vector, score}, but cannot be read as one "
                f"({error}); restore the bundle's folder from its origin."
            ) from None
        if vectors.ndim != 2 or not len(vectors):
            raise BundleError(
                "golden.json should hold rows of equal length, and holds none; restore the bundle's folder."
            )
        return cls(vectors, scores)

    def check(self, predict: Predict, where: str, tolerance: float = TOLERANCE) -> float:
        """Replay the rows through `predict`; return the largest difference.

        Raises BundleError naming `where` (the backend, for people) when a score is further off than `tolerance`.
        """
        found = np.asarray(predict(self.vectors), dtype=np.float64)
        if found.shape != self.scores.shape:
            raise BundleError(
                f"{where} should give {len(self.scores)} scores for the golden rows, and gave shape {found.shape}; "
                "the model's output is not the fraud probability: export it again."
            )
        off = np.abs(found - self.scores.astype(np.float64))
        worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        if not off[worst] <= tolerance:
            raise BundleError(
                f"{where} should score golden row {worst} as {self.scores[worst]:.9g}, and gave {found[worst]:.9g} "
                f"(tolerance {tolerance:g}). Do not serve this model there: compare the runtime's version with the "
                "one that trained, or roll back with `spearhead release rollback`."
            )
        return float(off[worst])


def _encode(x: np.float32) -> float | str | None:
    if np.isnan(x):
        return None
    if np.isinf(x):
        return "inf" if x > 0 else "-inf"
    return float(x)


def _decode(x: float | str | None) -> float:
    return float("nan") if x is None else float(x)

"""A bundle made ready to score: its columns among the feature set's, its thresholds, its trees."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fraud_core.errors import BundleError
from fraud_core.release import Bundle, Thresholds
from fraud_core.release.bundle import TREES
from fraud_core.release.contributions import Trees, warm_up
from fraud_serving.models.backend import Matrix


class Features(Protocol):
    """What a bundle must know of the active feature set: the vector's names in order, and a hash per feature."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def hashes(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class LoadedModel:
    """One model version as requests use it."""

    bundle: Bundle
    columns: NDArray[np.intp] | None
    """Where the model's features stand in the vector; None when the two are the same."""
    trees: Trees | None

    @property
    def version(self) -> str:
        """Its release bundle's version."""
        return self.bundle.version

    @property
    def thresholds(self) -> Thresholds:
        """Scores from which a payment is reviewed and declined."""
        return self.bundle.manifest.thresholds

    def select(self, vectors: Matrix) -> Matrix:
        """The model's columns [rows, features of the model] of the vectors [rows, features of the set]."""
        return vectors if self.columns is None else np.ascontiguousarray(vectors[:, self.columns])


def prepare(bundle: Bundle, features: Features) -> LoadedModel:
    """Fit a bundle to the active feature set; compiles what explains a score.

    Raises BundleError when the set does not provide every feature with the very definition that the model learned.
    """
    missing, changed = bundle.manifest.unmet(features.hashes)
    if missing or changed:
        raise BundleError(
            f"{bundle.version} cannot be served with the active feature set: "
            f"features that it lacks: {', '.join(missing) or 'none'}; "
            f"features that are defined otherwise now: {', '.join(changed) or 'none'}. "
            "Serve it with the features.yaml that it was trained on, or train and release again."
        )
    position = {name: place for place, name in enumerate(features.names)}
    columns = np.array([position[name] for name in bundle.manifest.features], dtype=np.intp)
    identical = np.array_equal(columns, np.arange(len(features.names)))
    trees = None
    if TREES in bundle.manifest.files:
        trees = Trees.from_npz(bundle.read(TREES))
        warm_up(trees)
    return LoadedModel(bundle, None if identical else columns, trees)

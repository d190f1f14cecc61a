"""Draws by weight. The weights are added up once: a day of a world makes hundreds of draws of a few items each."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Weighted:
    """Draws indices of `weights`, in proportion to them."""

    def __init__(self, weights: ArrayLike) -> None:
        cumulated = np.cumsum(np.asarray(weights, dtype=np.float64))
        self._share = cumulated / cumulated[-1]

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """`size` indices; takes `size` random numbers."""
        drawn: NDArray[np.int64] = np.searchsorted(self._share, rng.random(size), side="right")
        return drawn

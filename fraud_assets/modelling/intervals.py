"""Bootstrap intervals that respect that payments of one card resemble each other: whole entities are drawn.

Invariant: replicate r of any metric on the same rows draws the same entities (the seed and the rows decide), so that
two models can be compared replicate by replicate.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


def draw_entities(entity_count: int, replicates: int, seed: int) -> Iterator[Weights]:
    """How often each entity counts, float64 [entities], once per replicate."""
    random = np.random.default_rng(seed)
    for _ in range(replicates):
        drawn = random.integers(0, entity_count, entity_count)
        yield np.bincount(drawn, minlength=entity_count).astype(np.float64)


def replicate(
    metrics: dict[str, Callable[[Weights], float]], entity_count: int, replicates: int, seed: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Values of each metric, float64 [replicates], on the same draws."""
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for weights in draw_entities(entity_count, replicates, seed):
        for name, metric in metrics.items():
            values[name].append(metric(weights))
    return {name: np.array(found) for name, found in values.items()}


def interval(values: npt.NDArray[np.float64], level: float = 0.95) -> tuple[float, float] | None:
    """Bounds between which the middle `level` of the replicates lies; None when none could be computed."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

"""In which order an entity's events are folded. One pure function, because parity rests on it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from fraud_core.features.inputs import Ints

RESTART_SHARE = 0.5
"""A pause in known time longer than this share of the horizon starts a new run of seq: the state may have expired."""


def known_order(events: pl.DataFrame) -> Ints:
    """Places of the rows by (time known, shard, offset, index): the order in which history became known.

    Columns that the frame lacks count as equal, and remaining ties keep the order of the rows.
    """
    keys = [name for name in ("known_at", "_shard", "_offset", "_index") if name in events.columns]
    if not keys:
        return np.arange(events.height, dtype=np.int64)
    return events.select(pl.arg_sort_by(keys, maintain_order=True)).to_series().cast(pl.Int64).to_numpy()


def fold_order(  # noqa: PLR0917
    entity_codes: Ints,
    known: Ints,
    known_ms: Ints,
    epoch: Ints,
    seq: Ints,
    horizon_ms: int,
    epochs: Mapping[int, int] | None = None,
) -> Ints:
    """Places of the rows, entity by entity, each entity's in the order of its fold; rows of code -1 are left out.

    - Rows with a `seq` (≥ 0; none: -1) go by (epoch, seq): the order that the online state function gave them.
      State that nobody touched for a horizon expires and its seq starts again at 1, which can only happen across
      a pause in known time; so rows are first split where such a pause is long. Splitting too often is harmless,
      for within one run of seq both keys agree.
    - Rows without go by the order in which they became known, and before all rows with a seq: the first rebuild
      sequenced them.
    - `epochs` is the registry of rebuilds, epoch → the known time (ms) up to which its rebuild had read. With it, a row
      without seq stands before the first epoch whose rebuild had read it, and after all epochs if none had.
    """
    sequenced = seq >= 0
    if not sequenced.any() and not epochs:
        order = known[np.argsort(entity_codes[known], kind="stable")]
        return order[np.searchsorted(entity_codes[order], 0) :]
    era = np.where(sequenced, 2 * epoch + 1, -1)
    if epochs:
        numbers = np.array(sorted(epochs), np.int64)
        cuts = np.maximum.accumulate(np.array([epochs[int(number)] for number in numbers], np.int64))
        first = np.searchsorted(cuts, known_ms, side="left")
        after_all = max(int(numbers[-1]), int(epoch.max(initial=0))) + 1
        before = np.append(numbers, after_all)[first]
        era = np.where(sequenced, era, 2 * before)
    run = np.zeros(len(seq), np.int64)
    if sequenced.any():
        places = np.flatnonzero(sequenced)
        places = places[np.lexsort((known_ms[places], era[places], entity_codes[places]))]
        pause = np.diff(known_ms[places]) > horizon_ms * RESTART_SHARE
        run[places[1:]] = np.cumsum(pause)
    place = np.lexsort(
        (np.where(sequenced, seq, 0)[known], run[known], era[known], entity_codes[known])
    )  # stable: what ties keeps the order in which it became known
    order = known[place]
    return order[np.searchsorted(entity_codes[order], 0) :]


def column_or(events: pl.DataFrame, name: str, absent: int) -> Ints:
    """An integer column of the lake, `absent` where it is null or missing."""
    if name not in events.columns:
        return np.full(events.height, absent, np.int64)
    values: np.ndarray[Any, Any] = events[name].cast(pl.Int64).fill_null(absent).to_numpy()
    return values

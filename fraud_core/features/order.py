"""In which order an entity's events are folded. One pure function, because parity rests on it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from fraud_core.features.inputs import Ints

RESTART_SHARE = 0.5
"""A pause in known time longer than this share of the horizon starts a new run of seq: the state may have expired."""


def known_order(events: pl.DataFrame) -> Ints:
    """Rank of every row by (time known, shard, offset, index): the order in which history became known.

    Columns that the frame lacks count as equal, and remaining ties keep the order of the rows.
    """
    keys = [name for name in ("known_at", "_shard", "_offset", "_index") if name in events.columns]
    rank = np.empty(events.height, np.int64)
    if not keys:
        return np.arange(events.height, dtype=np.int64)
    places = events.select(keys).with_row_index("_row").sort([*keys, "_row"])["_row"].to_numpy()
    rank[places] = np.arange(events.height)
    return rank


def fold_order(  # noqa: PLR0917
    entity_codes: Ints,
    known_rank: Ints,
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
    order = np.lexsort((known_rank, np.where(sequenced, seq, 0), run, era, entity_codes))
    return order[np.searchsorted(entity_codes[order], 0) :]


def column_or(events: pl.DataFrame, name: str, absent: int) -> Ints:
    """An integer column of the lake, `absent` where it is null or missing."""
    if name not in events.columns:
        return np.full(events.height, absent, np.int64)
    values: np.ndarray[Any, Any] = events[name].cast(pl.Int64).fill_null(absent).to_numpy()
    return values

"""In which order an entity's events are folded. One pure function, because parity rests on it."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
from numba import njit

from fraud_core.features.inputs import Ints
from fraud_core.log import Shard

Cut: TypeAlias = int | Mapping[Shard, int]
"""What a rebuild had read: all that was known up to a time (ms), or exactly: each shard up to an offset."""
Epochs: TypeAlias = Mapping[int, Cut]
"""The registry of rebuilds: epoch to its cut."""

TURN: Final = "_turn"
"""Column (Int64) of events that do not stand in the order of their rows: their turn where all else ties."""
RESTART_SHARE = 0.5
"""A pause in known time longer than this share of the horizon starts a new run of seq: the state may have expired.

Nobody overtakes across such a pause: writers that meet are moments apart, a horizon is hours at least."""


def known_order(events: pl.DataFrame) -> Ints:
    """Places of the rows by (time known, shard, life of the log, offset, index): the order in which history became known.

    Columns that the frame lacks count as equal; what still ties goes by its turn, or keeps the order of the rows.
    """
    order = ("known_at", "_shard", "_incarnation", "_offset", "_index", TURN)
    keys = [name for name in order if name in events.columns]
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
    reading: Ints | None = None,
) -> Ints:
    """Places of the rows, entity by entity, each entity's in the order of its fold; rows of code -1 are left out.

    - Rows with a `seq` (≥ 0; none: -1) go by (epoch, seq): the order that the online state function gave them.
      State that nobody touched for longer than a horizon expires and its seq starts again at 1, which can only happen across
      a pause in known time; so rows are first split where such a pause is long. Splitting too often is harmless,
      for within one run of seq both keys agree.
    - Rows without go by the order in which they became known, and before all rows with a seq: the first rebuild
      sequenced them.
    - `reading` (see `first_reading`) refines that where several rebuilds took place: a row without seq stands before
      the epoch whose rebuild was the first to read it.
    """
    sequenced = seq >= 0
    if not sequenced.any() and reading is None:
        together: Ints = _by_entity(entity_codes, known)
        return together
    era = np.where(sequenced, 2 * epoch + 1, -1)
    if reading is not None:
        era = np.where(sequenced, era, 2 * reading)
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


@njit(cache=True)  # type: ignore[misc, untyped-decorator, unused-ignore]  # numba has no types
def _by_entity(entity_codes: Any, places: Any) -> Any:
    """The places entity by entity, each entity's in the order in which they come; those of code -1 are left out."""
    ends = np.zeros(entity_codes.max() + 2 if len(entity_codes) else 1, np.int64)
    for place in places:
        ends[entity_codes[place] + 1] += 1
    nobodys = ends[0]
    ends[0] = 0
    for code in range(1, len(ends)):  # from here on: where the next one of an entity goes
        ends[code] += ends[code - 1]
    order = np.empty(len(places) - nobodys, np.int64)
    for place in places:
        code = entity_codes[place]
        if code >= 0:
            order[ends[code]] = place
            ends[code] += 1
    return order


def first_reading(events: pl.DataFrame, known_ms: Ints, epochs: Epochs | None) -> Ints | None:
    """Per row the first epoch whose rebuild had read it; rows that none has read get a number after all epochs."""
    if not epochs:
        return None
    newest = max(*epochs, int(column_or(events, "_epoch", 0).max(initial=0)))
    reading = np.full(events.height, newest + 1, np.int64)
    for epoch in sorted(epochs, reverse=True):
        reading[_read_by(events, known_ms, epochs[epoch])] = epoch
    return reading


def _read_by(events: pl.DataFrame, known_ms: Ints, cut: Cut) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if isinstance(cut, int):
        return known_ms <= cut
    rows: np.ndarray[Any, np.dtype[np.bool_]] = events.select(up_to(cut)).to_series().to_numpy()
    return np.broadcast_to(rows, len(known_ms))


def up_to(ends: Mapping[Shard, int]) -> pl.Expr:
    """Rows of the lake that came from these shards, each in its life of the log, up to these offsets."""
    return pl.any_horizontal(
        pl.lit(False),
        *[
            (pl.col("_stream") == shard.stream)
            & (pl.col("_shard") == shard.number)
            & (pl.col("_incarnation") == shard.incarnation)
            & (pl.col("_offset") <= end)
            for shard, end in ends.items()
        ],
    ).fill_null(False)


def out_of_turn(events: pl.DataFrame, epochs: Epochs) -> pl.Expr:
    """Rows of the lake that may stand before one of `events` although they became known later; see fold_order.

    Rows with a seq may, and rows without one that a rebuild had read before one of `events` was read or sequenced.
    """
    sequenced = pl.col("_epoch").is_not_null()
    newest = int(column_or(events, "_epoch", 0).max(initial=0))
    known_ms = events["known_at"].dt.epoch("ms").fill_null(0).to_numpy()
    reading = first_reading(events, known_ms, epochs)
    if reading is None:  # all history without seq precedes all that has one
        return pl.lit(True) if newest else sequenced
    last = max(newest, int(reading.max(initial=0)) - 1)
    cuts = [cut for epoch, cut in epochs.items() if epoch <= last]
    ends: dict[Shard, int] = {}
    for cut in cuts:
        if not isinstance(cut, int):
            ends |= {shard: max(end, ends.get(shard, end)) for shard, end in cut.items()}
    until_ms = max([cut for cut in cuts if isinstance(cut, int)], default=-1)
    return sequenced | up_to(ends) | (pl.col("known_at").dt.epoch("ms") <= until_ms)


def column_or(events: pl.DataFrame, name: str, absent: int) -> Ints:
    """An integer column of the lake, `absent` where it is null or missing."""
    if name not in events.columns:
        return np.full(events.height, absent, np.int64)
    values: np.ndarray[Any, Any] = events[name].cast(pl.Int64).fill_null(absent).to_numpy()
    return values

"""Rows on disk that are found again by a key: what a rebuild looks at many times and cannot hold at once.

Rows are put away by parts of their keys; once all are there, each part is sorted by its keys' hashes. A part is read as a whole,
or a few keys' rows are taken out of the mapped file, of which the system holds no more than it has room for.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_assets.features.spill import PART, Spill

_CUT_SEED: Final = 11
_PLACE_SEED: Final = 12
CUT_BY: Final = f"polars {pl.__version__}"
"""What gives a key its part: another version may give it another one."""


def share(field: str, parts: int) -> pl.Expr:
    """The part that a key belongs to, of so many: the same in every process, see CUT_BY."""
    return (pl.col(field).cast(pl.String).hash(seed=_CUT_SEED) % parts).cast(pl.Int32)


class Shelf:
    """Rows of one kind by `key`. First `add`, then `close`; only then is anything found."""

    def __init__(self, folder: Path, key: str, parts: int, buffer: int) -> None:
        """`buffer`: bytes of rows that may wait to be written."""
        self._folder, self.key, self.parts = folder, key, parts
        self._spill: Spill | None = Spill(folder, buffer)
        self._empty: pl.DataFrame | None = None
        self._held: set[int] = set()
        self.rows = 0
        self.keys = 0
        """How many different keys there are."""

    def add(self, rows: pl.DataFrame) -> None:
        """Put rows away; those without a key are left out."""
        assert self._spill is not None, "closed"
        if self._empty is None:
            self._empty = rows.clear()
        kept = rows.filter(pl.col(self.key).is_not_null())
        self._spill.add(kept.with_columns(share(self.key, self.parts).alias(PART)))

    def close(self) -> None:
        """Sort what was put away, part by part."""
        assert self._spill is not None, "closed"
        for part in range(self.parts):
            rows = self._spill.take(part)
            if rows is None:
                continue
            rows = rows.with_columns(_place(self.key).alias(PART)).sort(PART, maintain_order=True)
            np.save(self._hashes(part), rows[PART].to_numpy())
            rows.drop(PART).write_ipc(self._file(part), compat_level=pl.CompatLevel.newest())
            self._held.add(part)
            self.rows += rows.height
            self.keys += rows[self.key].n_unique()
        self._spill = None

    def part(self, number: int) -> pl.DataFrame:
        """All rows of a part."""
        return pl.read_ipc(self._file(number)) if number in self._held else self._nothing()

    def find(self, keys: pl.Series) -> pl.DataFrame:
        """The rows of these keys, those of one key in the order in which they were added."""
        wanted = keys.cast(pl.String).rename(self.key).drop_nulls().unique().to_frame()
        found = [self._nothing()]
        for (part,), mine in wanted.group_by(share(self.key, self.parts)):
            if part not in self._held:
                continue
            stored: NDArray[np.uint64] = np.load(self._hashes(int(str(part))), mmap_mode="r")
            hashes = mine.select(_place(self.key)).to_series().unique().sort().to_numpy()
            rows = pl.read_ipc(self._file(int(str(part))))[_ranges(stored, hashes)]
            found.append(
                rows.join(
                    mine,
                    left_on=pl.col(self.key).cast(pl.String),
                    right_on=self.key,
                    how="semi",
                    maintain_order="left",
                )
            )
        return pl.concat(found)

    def _nothing(self) -> pl.DataFrame:
        assert self._empty is not None, "nothing was ever added"
        return self._empty

    def _file(self, part: int) -> Path:
        return self._folder / f"sorted-{part}.arrow"

    def _hashes(self, part: int) -> Path:
        return self._folder / f"sorted-{part}.npy"


def _place(field: str) -> pl.Expr:
    return pl.col(field).cast(pl.String).hash(seed=_PLACE_SEED)


def _ranges(stored: NDArray[np.uint64], hashes: NDArray[Any]) -> NDArray[np.int64]:
    """Places of the stored hashes that are among `hashes`, both sorted."""
    begins = np.searchsorted(stored, hashes, side="left")
    sizes = np.searchsorted(stored, hashes, side="right") - begins
    offsets = np.repeat(begins - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes) if len(sizes) else sizes
    return np.asarray(offsets + np.arange(int(sizes.sum())), np.int64)

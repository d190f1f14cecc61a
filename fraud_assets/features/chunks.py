"""How the output of a streamed build is cut: chunks of rows that are put together at a time, blocks of days that are committed
at a time. Small days share a chunk, a large day takes several."""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

import polars as pl


@dataclass(frozen=True)
class Block:
    """Consecutive days, and the chunks with their rows."""

    first: date
    last: date
    chunks: range


@dataclass(frozen=True)
class Chunks:
    """Which rows of the output go together."""

    days: tuple[date, ...]
    """Those with rows, ascending."""
    first_chunk: tuple[int, ...]
    splits: tuple[int, ...]
    """Chunks among which a day's rows are divided by their id."""
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, first: date, last: date, per_day: dict[date, int], most: int) -> "Chunks":
        """Cut the days `first`..`last` into chunks of at most about `most` rows."""
        days = sorted(per_day)
        first_chunk: list[int] = []
        splits = [max(1, -(-per_day[day] // most)) for day in days]
        chunk, held = -1, most
        for day, parts in zip(days, splits, strict=True):
            if parts > 1 or held + per_day[day] > most:
                chunk, held = chunk + 1, 0
            first_chunk.append(chunk)
            held += per_day[day] if parts == 1 else most
            chunk += parts - 1
        return cls(
            tuple(days), tuple(first_chunk), tuple(splits), _blocks(first, last, days, first_chunk, splits)
        )

    @property
    def count(self) -> int:
        return self.first_chunk[-1] + self.splits[-1] if self.days else 0

    def chunk_of(self, day: pl.Expr, digest: pl.Expr) -> pl.Expr:
        """The chunk of a row (Int32), by its event date and a hash of its id."""
        begins = dict(zip(self.days, self.first_chunk, strict=True))
        parts = dict(zip(self.days, self.splits, strict=True))
        if not begins:
            return pl.lit(None, pl.Int32)
        begin = day.replace_strict(begins, default=None, return_dtype=pl.Int64)
        within = digest % day.replace_strict(parts, default=None, return_dtype=pl.UInt64)
        return (begin + within.cast(pl.Int64)).cast(pl.Int32)


def _blocks(
    first: date, last: date, days: list[date], first_chunk: list[int], splits: list[int]
) -> tuple[Block, ...]:
    """Days of one chunk, or one day of several, are committed together; days without rows go with those before them."""
    found = [list(each) for _, each in groupby(range(len(days)), key=lambda place: first_chunk[place])]
    starts = [first, *(days[places[0]] for places in found[1:])]
    ends = [*(start - timedelta(days=1) for start in starts[1:]), last]
    if not found:
        return (Block(first, last, range(0)),)
    chunks = [range(first_chunk[each[0]], first_chunk[each[0]] + splits[each[0]]) for each in found]
    return tuple(Block(*each) for each in zip(starts, ends, chunks, strict=True))

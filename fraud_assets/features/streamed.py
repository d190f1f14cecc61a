"""The features of a range in bounded memory, equal to `compute_offline` bit for bit.

1. The payments are read once and put away by their id, so that copies, labels and payments meet (by_id.py).
2. Each part is cleared of copies; payments of the range get a place in a chunk of the output (by_chunk.py); every payment goes
   on, with the columns that it needs there, to the part of each of its entities.
3. Each part of an entity kind holds all events of its entities: it is folded (by_entity.py), and what features read goes to the
   chunks.
4. Chunk by chunk the columns are joined.

A build may go on from a snapshot (see snapshots.py): then only payments that it does not stand for are read, those before them
only where a label names them; and it may leave one, part by part of each entity kind.

Every step's parts are so many that one of them fits into the memory allowed. An entity is never divided, so the busiest one must
fit too. Work and bytes on disk grow with the events, not with their square.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl

from fraud_assets.features.by_chunk import ByChunk
from fraud_assets.features.by_entity import ByEntity, folding_bytes
from fraud_assets.features.by_id import ById
from fraud_assets.features.chunks import Chunks
from fraud_assets.features.reading import Reading, carried_columns, needed_columns, row_bytes
from fraud_assets.features.snapshots import Keeper, Snapshot
from fraud_assets.features.spill import Spill
from fraud_core.features import FeatureSet
from fraud_core.features.inputs import Frame

_FEWEST_PARTS: Final = 4
"""Of an entity kind, where a snapshot is left: its parts serve later builds, of more events perhaps."""


@dataclass(frozen=True)
class Sources:
    """The two tables, each as of one version."""

    payments: pl.LazyFrame
    """All of them, copies included."""
    labels: pl.LazyFrame
    """As `read_labels` gives them."""
    rows: int
    """About how many payments are folded."""
    per_day: dict[date, int]
    """Payments of the range by event date, copies included."""


class StreamedFeatures:
    """One build. `memory`: bytes for what is held at a time."""

    def __init__(  # noqa: PLR0917
        self,
        features: FeatureSet,
        reading: Reading,
        sources: Sources,
        memory: int,
        folder: Path,
        start: Snapshot | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.features, self.reading = features, reading
        self._memory, self._folder = memory, folder
        schema = sources.payments.collect_schema()
        size = 4 * len(features.names) + row_bytes(schema, carried_columns(features.contract))
        self.chunks = Chunks.of(
            reading.first, reading.last, sources.per_day, most=max(1, memory // (8 * size))
        )
        whole = row_bytes(schema, needed_columns(features, schema))
        fewest = _FEWEST_PARTS if keeper else 1
        self.parts = {
            name: start.parts[name]
            if start
            else max(fewest, self._parts(sources.rows, folding_bytes(features, schema, name)))
            for name in features.plans
        }
        """Into how many parts each entity kind is divided."""
        id_parts = self._parts(sources.rows, 4 * whole)
        spill = self._spill
        self._by_id = ById(features, reading, sources.payments, sources.labels, start, id_parts, spill)
        self._by_entity = ByEntity(features, schema, reading, self.parts, start, keeper, spill)
        self._by_chunk = ByChunk(features, schema, self.chunks, spill)
        self._prepared = False
        self.folded = 0

    def prepare(self) -> None:
        """Read and fold everything. Raises StartRefused when the snapshot is not what the events before it leave any more."""
        if self._prepared:
            return
        self._by_id.put_away()
        for part in range(self._by_id.parts):
            self._settle(part)
        for name, parts in self.parts.items():
            for part in range(parts):
                values = self._by_entity.fold(name, part)
                if values is not None:
                    self._by_chunk.add_values(name, values)
        self._prepared = True

    def chunk_frames(self) -> Iterator[pl.DataFrame]:
        """The rows of each chunk of the output in turn: the carried columns, event_date, known_at, the features."""
        self.prepare()
        for chunk in range(self.chunks.count):
            yield self._by_chunk.joined(chunk)

    def _settle(self, part: int) -> None:
        settled = self._by_id.settle(part)
        if settled is None:
            return
        rows, effects = settled
        self.folded += rows.height
        rows = self._by_chunk.placed(rows, self.reading.of_range)
        frame = Frame(rows)
        integers = {source: frame.column(source) for source in self.features.program.inputs}
        self._by_chunk.add(rows, integers)
        self._by_entity.add(rows, integers, effects)

    def _parts(self, rows: int, bytes_each: int) -> int:
        return max(1, -(-rows * bytes_each // self._memory))

    def _spill(self, name: str) -> Spill:
        return Spill(self._folder / name, min(self._memory // 16, 64 << 20))

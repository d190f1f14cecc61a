"""The output of a build by its chunks: every payment of the range has a place in one, and what belongs to it comes piece by piece.

First the payments come, with the features of the payment alone; then, of each entity kind, the values of all of them. A chunk is
joined once all have come.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from fraud_assets.features.chunks import Chunks
from fraud_assets.features.reading import carried_columns
from fraud_assets.features.spill import PART, Spill
from fraud_core.features import FeatureSet
from fraud_core.features.inputs import Frame, Ints
from fraud_core.features.offline import Floats, answered, evaluate_group
from fraud_core.features.plan import Input

CHUNK: Final = "_chunk"
PLACE: Final = "_place"
"""Columns of a payment of the range: its chunk of the output and its place in it; without a value for all others."""


class ByChunk:
    """First `placed`, then `add` and `add_values` of what was placed, then `joined`."""

    def __init__(
        self, features: FeatureSet, schema: pl.Schema, chunks: Chunks, spill: Callable[[str], Spill]
    ) -> None:
        """`schema`: that of the payments."""
        self.features, self.chunks, self._schema = features, chunks, schema
        self._id = features.contract.event_id
        self._carried = [*carried_columns(features.contract), "event_date", "known_at"]
        self._waiting = waiting(features)
        joint = [entities for entities in features.groups if len(entities) > 1]
        self._joint_fields = {
            source.field for entities in joint for source in features.groups[entities].program.inputs
        }
        self._base = spill("base")
        self._values = {name: spill(f"values-{name}") for name in features.plans}
        self._filled: dict[int, int] = {}

    def placed(self, rows: pl.DataFrame, of_range: pl.Expr) -> pl.DataFrame:
        """Give payments of the range a chunk and a place in it."""
        chunk = self.chunks.chunk_of(pl.col("event_date"), pl.col(self._id).cast(pl.String).hash(seed=3))
        rows = rows.with_columns(pl.when(of_range).then(chunk).alias(CHUNK))
        filled = pl.DataFrame(
            {CHUNK: list(self._filled), "_filled": list(self._filled.values())},
            schema={CHUNK: pl.Int32, "_filled": pl.Int64},
        )
        rows = rows.join(filled, on=CHUNK, how="left", maintain_order="left").with_columns(
            pl.when(pl.col(CHUNK).is_not_null())
            .then(pl.int_range(pl.len()).over(CHUNK) + pl.col("_filled").fill_null(0))
            .alias(PLACE)
        )
        for chunk_number, count in rows.drop_nulls(CHUNK).group_by(CHUNK).len().iter_rows():
            self._filled[chunk_number] = self._filled.get(chunk_number, 0) + count
        return rows

    def add(self, rows: pl.DataFrame, integers: Mapping[Input, Ints]) -> None:
        """Take in placed payments: the carried columns, features of the payment alone, fields for joint ones."""
        mine = rows[PLACE].is_not_null()
        group = self.features.groups.get(())
        values = evaluate_group(group, integers, [], answered(rows.height, mine)) if group else {}
        rows = rows.filter(mine)
        kept = [name for name in dict.fromkeys([*self._carried, *self._joint_fields]) if name in rows.columns]
        self._base.add(
            rows.select(*kept, pl.col(CHUNK).alias(PART)).with_columns(
                **{name: pl.Series(found) for name, found in values.items()}
            )
        )

    def add_values(self, name: str, values: pl.DataFrame) -> None:
        """Take in what an entity kind says of payments: their chunk, their place, its features, and its slots where some wait."""
        self._values[name].add(values.rename({CHUNK: PART}))

    def joined(self, chunk: int) -> pl.DataFrame:
        """The rows of a chunk: the carried columns, event_date, known_at, the features."""
        base = self._base.take(chunk)
        if base is None:
            names = {name: self._schema[name] for name in self._carried}
            return pl.DataFrame(schema=names | dict.fromkeys(self.features.names, pl.Float32()))
        columns: dict[str, pl.Series] = {}
        blocks: dict[str, list[np.ndarray]] = {}
        for name in self.features.plans:
            values = self._values[name].take(chunk)
            if values is None or values.height != base.height:
                raise AssertionError(f"features of {name} were expected for each of {base.height} payments")
            values = values.sort(PLACE)
            group = self.features.groups.get((name,))
            columns |= {each: values[each] for each in (group.names if group else ())}
            if name in self._waiting:
                slots = len(self.features.plans[name].slots)
                blocks[name] = [values[slot_column(slot)].to_numpy() for slot in range(slots)]
        for entities in self.features.groups:
            if len(entities) > 1:
                found = self._evaluated(entities, base, [np.stack(blocks[name]) for name in entities])
                columns |= {name: pl.Series(value) for name, value in found.items()}
        return base.with_columns(**columns).select(*self._carried, *self.features.names)

    def _evaluated(
        self, entities: tuple[str, ...], rows: pl.DataFrame, blocks: Sequence[np.ndarray]
    ) -> dict[str, Floats]:
        group = self.features.groups[entities]
        frame = Frame(rows)
        inputs = {source: frame.column(source) for source in group.program.inputs}
        return evaluate_group(group, inputs, blocks, np.arange(rows.height, dtype=np.int64))


def waiting(features: FeatureSet) -> set[str]:
    """Entity kinds whose slots go to the chunks, since a feature of several kinds is computed from them there."""
    return {entity for entities in features.groups if len(entities) > 1 for entity in entities}


def slot_column(slot: int) -> str:
    """Name of a slot's column among the values of an entity kind."""
    return f"{PLACE}{slot}"

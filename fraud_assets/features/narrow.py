"""What of a payment goes to the parts of its entities: integers in the narrowest type that holds them, its order, and the entity.

A payment's fields become integers once, however many entities fold them; the texts behind them stay where the payment is. A column's
name is the place of its input among those of the entity kind.
"""

from typing import Final

import numpy as np
import polars as pl

from fraud_core.features import FeatureSet
from fraud_core.features.inputs import Ints
from fraud_core.features.offline import entity_inputs
from fraud_core.features.plan import NULL, Input, InputKind

ORIGIN: Final = ("known_at", "_stream", "_shard", "_incarnation", "_offset", "_index", "_epoch")
_NARROW: Final[dict[InputKind, tuple[type[pl.DataType], int]]] = {
    InputKind.HASH: (pl.UInt32, 0),
    InputKind.ENUM: (pl.Int32, -1),
    InputKind.CELL: (pl.Int16, -1),
}
"""Type of a column, and what stands in it for NULL: a value that the input never has. All others are Int64."""
_CODED: Final = ("_stream", "_incarnation")
"""Columns with few different texts."""


def coded(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with those as codes: they compare and sort as the texts do."""
    return rows.with_columns(pl.col(name).cast(pl.Categorical) for name in _CODED if name in rows.columns)


def told(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the texts again: for what outlives the process."""
    return rows.with_columns(pl.col(name).cast(pl.String) for name in _CODED if name in rows.columns)


def order_columns(features: FeatureSet, schema: pl.Schema, name: str) -> list[str]:
    """Columns of `transactions` that are kept as they are: the entity of that kind, and what orders its events."""
    named = [features.plans[name].rule.field, *ORIGIN, f"_seq_{name}"]
    return [each for each in dict.fromkeys(named) if each in schema]


def input_columns(features: FeatureSet, name: str) -> dict[Input, str]:
    """The integers that a fold of one entity kind takes, and the names of their columns."""
    return {source: f"_input_{place}" for place, source in enumerate(entity_inputs(features, name))}


def narrowed(source: Input, values: Ints) -> pl.Series:
    """Integers as they are put away."""
    if source.kind not in _NARROW:
        return pl.Series(values)
    dtype, none = _NARROW[source.kind]
    return pl.Series(np.where(values == NULL, none, values)).cast(dtype)


def widened(source: Input, values: pl.Series) -> Ints:
    """The integers again."""
    found: Ints = values.cast(pl.Int64).to_numpy()
    if source.kind not in _NARROW:
        return found
    return np.where(found == _NARROW[source.kind][1], NULL, found)

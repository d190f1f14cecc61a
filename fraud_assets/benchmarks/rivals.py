"""The window features by other means, for comparison only: polars' rolling expressions and DuckDB's window functions.

Both compute the plain counts, sums and maxima over event time that the declaration's windows need, and nothing else: no
filters, distinct values, first-seen, labels, arrival order or caps. On equal timestamps they see later rows; Spearhead does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fraud_assets.benchmarks.apart import Used
from fraud_core.features import FeatureSet
from fraud_core.features.plan import SlotKind

_KINDS = {SlotKind.COUNT: "count", SlotKind.FILLED: "count", SlotKind.SUM: "sum", SlotKind.MAX: "max"}


@dataclass(frozen=True)
class Window:
    """One aggregate: of a column (None: of the events) over (t - window, t] within a key."""

    key: str
    kind: str
    column: str | None
    window_ms: int


def windows_of(features: FeatureSet) -> list[Window]:
    """What the declaration asks for and a window function can say."""
    found: dict[Window, None] = {}
    for plan in features.plans.values():
        for slot in plan.slots:
            if slot.kind in _KINDS and slot.where is None and slot.window_ms:
                column = slot.input.field if slot.input else None
                found[Window(plan.rule.field, _KINDS[slot.kind], column, slot.window_ms)] = None
    return list(found)


def polars_rolling(file: Path, time: str, windows: Sequence[Window]) -> dict[str, float]:
    """Compute them with `rolling_*_by(...).over(key)`; see `fraud_assets.benchmarks.apart.used`."""
    import polars as pl

    frame = pl.read_parquet(file).with_columns(_event=pl.lit(1, pl.Int64))

    def value(window: Window) -> pl.Expr:
        column = pl.col(window.column or "_event")
        length = f"{window.window_ms}ms"
        if window.kind == "max":
            found = column.rolling_max_by(time, length, closed="right")
        else:
            counted = column.is_not_null().cast(pl.Int64) if window.kind == "count" else column
            found = counted.rolling_sum_by(time, length, closed="right")
        return found.over(window.key)

    with Used() as used:
        frame.select(value(window).alias(str(number)) for number, window in enumerate(windows))
    return used.figures


def duckdb_windows(file: Path, time: str, windows: Sequence[Window]) -> dict[str, float]:
    """Compute them with `OVER (PARTITION BY … ORDER BY … RANGE …)`. Raises ImportError without DuckDB."""
    import duckdb

    names: dict[tuple[str, int], str] = {}
    columns = []
    for number, window in enumerate(windows):
        name = names.setdefault((window.key, window.window_ms), f"w{len(names)}")
        columns.append(f"{window.kind}({window.column or '*'}) OVER {name} AS c{number}")
    over = ", ".join(
        f"{name} AS (PARTITION BY {key} ORDER BY {time} RANGE BETWEEN INTERVAL '{window_ms - 1} milliseconds' PRECEDING "
        "AND CURRENT ROW)"
        for (key, window_ms), name in names.items()
    )
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE events AS SELECT * FROM read_parquet('{file}')")  # noqa: S608 (our own names)
        with Used() as used:
            connection.execute(f"CREATE TABLE found AS SELECT {', '.join(columns)} FROM events WINDOW {over}")  # noqa: S608 (our own names)
    return used.figures

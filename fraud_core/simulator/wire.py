"""Events as JSON, the way a producer would send them: times in ISO 8601 with milliseconds and Z."""

import io

import polars as pl

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.3fZ"


def to_json(rows: pl.DataFrame) -> list[bytes]:
    """One JSON object per row; columns that start with `_` are left out."""
    if not rows.height:
        return []
    sent = rows.select(
        pl.col(name).dt.strftime(_TIME_FORMAT) if isinstance(dtype, pl.Datetime) else pl.col(name)
        for name, dtype in rows.schema.items()
        if not name.startswith("_")
    )
    lines = io.BytesIO()  # not None: that would make a text of it, to be encoded again
    sent.write_ndjson(lines)
    return lines.getvalue().splitlines()

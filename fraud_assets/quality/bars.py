"""Arrivals over time as stacked bars: an inline SVG, drawn without a plotting library."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

_BINS = 60
_WIDTH, _HEIGHT, _FLOOR = 1060, 120, 18


def bars(admitted: pl.Series, refused: pl.Series, scale: float = 1.0) -> str:
    """Two columns of instants as one chart; empty where there is no span of time to show.

    `scale` is how many rows each instant of `admitted` stands for.
    """
    times = pl.concat([admitted.rename("at"), refused.rename("at").cast(admitted.dtype)]).drop_nulls()
    if times.is_empty():
        return ""
    first, last = times.min(), times.max()
    if (
        not isinstance(first, datetime)
        or not isinstance(last, datetime)
        or last - first < timedelta(seconds=1)
    ):
        return ""
    edges = np.linspace(first.timestamp(), last.timestamp(), _BINS + 1)
    good, bad = (np.histogram(_seconds(each), bins=edges)[0] for each in (admitted, refused))
    good = good * scale
    top = max(float((good + bad).max()), 1.0)
    step = _WIDTH / _BINS
    drawn: list[str] = []
    for place, (calm, wrong) in enumerate(zip(good.tolist(), bad.tolist(), strict=True)):
        x, width = place * step + 1, step - 2
        height = calm / top * _HEIGHT
        red = max(wrong / top * _HEIGHT, 2.0) if wrong else 0.0
        drawn.append(
            f'<rect x="{x:.1f}" y="{_HEIGHT - height:.1f}" width="{width:.1f}" height="{height:.1f}" fill="var(--calm)"/>'
        )
        if wrong:
            y = max(_HEIGHT - height - red, 0.0)
            drawn.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{red:.1f}" fill="var(--bar)"/>'
            )
    labels = (
        f'<text x="0" y="{_HEIGHT + 14}">{first:%Y-%m-%d %H:%M:%S}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 14}" text-anchor="end">{last:%Y-%m-%d %H:%M:%S} UTC</text>'
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _FLOOR}" role="img" aria-label="Arrivals over time">{"".join(drawn)}{labels}</svg>'


def _seconds(times: pl.Series) -> np.ndarray:
    return times.drop_nulls().dt.epoch("us").to_numpy() / 1_000_000

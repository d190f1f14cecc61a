"""What pictures for asset metadata are drawn on: PNG bytes, as wide as the Dagster UI's dialog shows uncut."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def canvas(title: str, height: float = 3.8) -> "tuple[Figure, Axes]":
    """An empty figure with one set of axes; `height` in inches."""
    # Figure without pyplot: no global state, no display, safe in any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def png(figure: "Figure") -> bytes:
    """The figure as PNG bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()

"""Pictures in the Dagster UI: PNGs inside a markdown value, so that no file has to be served.

The UI shows a markdown value of more than 1,000 characters behind a click; so what belongs together is one value.
"""

import base64
from collections.abc import Iterable, Sequence

import dagster as dg


def picture(title: str, png: bytes) -> str:
    """Markdown that shows a PNG."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def page(*parts: str) -> dg.MarkdownMetadataValue:
    """Pieces of markdown as one metadata value."""
    return dg.MetadataValue.md("\n\n".join(parts))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; all columns but the first are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Pictures in the Dagster UI: a PNG inside a markdown value, so that no file has to be served."""

import base64

import dagster as dg


def picture(title: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG as metadata that the UI shows."""
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")

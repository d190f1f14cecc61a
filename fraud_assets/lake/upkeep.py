"""Upkeep of tables, safe beside writers: small files into large ones, so that opening a table stays fast.

delta-rs accepts two compactions that began at one version: its conflict check passes over removals that change no data, so
both remove the same files, each adds its own copy, and every row stands twice. It does refuse whatever began before
a change of the table's metadata. So a compaction first writes a token there, a fence that no older compaction gets over, and
begins only where the token it reads back is its own.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from deltalake.exceptions import CommitFailedError, DeltaError

from fraud_assets.lake.lake import Lake
from fraud_assets.lake.writing import COMPACT
from fraud_core.errors import LakeError

FENCE: Final = "spearhead.compaction"
"""Table property that holds the token of the latest compaction begun."""


@dataclass(frozen=True)
class Upkeep:
    """What a compaction did."""

    table: str
    files_removed: int
    files_added: int
    refused: bool = False
    """Another writer was in the way; the next one will do it."""


def compact(lake: Lake, name: str) -> Upkeep:
    """Merge the small files of a table and write a checkpoint. Rows and application versions stay as they are.

    Appends that were under way are refused once, by the fence; their writers read the table again, as after any refusal.
    """
    token = uuid.uuid4().hex
    table = lake.table(name)
    try:
        table.alter.set_table_properties({FENCE: token}, raise_if_not_exists=False)
        table = lake.table(name)
        if table.metadata().configuration.get(FENCE) != token:
            return Upkeep(name, 0, 0, refused=True)
        metrics = table.optimize.compact(writer_properties=COMPACT)
        table.create_checkpoint()
    except CommitFailedError:
        return Upkeep(name, 0, 0, refused=True)
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"Compaction of {name} failed: {error}. The table is as it was; check the space and the health of the lake."
        ) from error
    return Upkeep(name, int(metrics["numFilesRemoved"]), int(metrics["numFilesAdded"]))

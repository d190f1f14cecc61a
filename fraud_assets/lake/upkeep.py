"""Upkeep of tables, safe beside writers: small files into large ones, so that opening a table stays fast."""

from dataclasses import dataclass

from deltalake.exceptions import CommitFailedError, DeltaError

from fraud_assets.lake.lake import Lake
from fraud_core.errors import LakeError


@dataclass(frozen=True)
class Upkeep:
    """What a compaction did."""

    table: str
    files_removed: int
    files_added: int
    refused: bool = False
    """Another writer was in the way; the next one will do it."""


def compact(lake: Lake, name: str) -> Upkeep:
    """Merge the small files of a table and write a checkpoint. Rows and application versions stay as they are."""
    table = lake.table(name)
    try:
        metrics = table.optimize.compact()
        table.create_checkpoint()
    except CommitFailedError:
        return Upkeep(name, 0, 0, refused=True)
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"Compaction of {name} failed: {error}. The table is as it was; check the space and the health of the lake."
        ) from error
    return Upkeep(name, int(metrics["numFilesRemoved"]), int(metrics["numFilesAdded"]))

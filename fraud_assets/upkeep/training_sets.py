"""Training sets and candidates that nobody needs any more. A training set is kept as long as a release bundle, a candidate or a
handle names it; a candidate as long as a handle does, for a bundle holds the model itself."""

import json
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from fraud_assets.lake import Lake
from fraud_assets.lake.files import files_of, remove_table, table_names
from fraud_core.errors import BundleError

TRAINING_SETS: Final = "training_sets"


def named_snapshots(bundles: Path) -> set[str]:
    """Snapshots that something beside the bundles names. Raises BundleError where a manifest cannot be read: then none may go."""
    candidates = {folder.name for folder in (bundles / "candidates").glob("*") if folder.is_dir()}
    return (
        candidates | _named(bundles.glob("*/manifest.json")) | _named((bundles / "handles").rglob("*.json"))
    )


def remove_candidates(bundles: Path, oldest: datetime) -> list[str]:
    """Remove candidates that no handle names and that have not changed since `oldest`; returns their names."""
    in_hand = _named((bundles / "handles").rglob("*.json"))
    removed = []
    for folder in sorted((bundles / "candidates").glob("*")):
        changed = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
        if folder.name not in in_hand and changed <= oldest.timestamp():
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
    return removed


def _named(documents: Iterable[Path]) -> set[str]:
    named: set[str] = set()
    for path in documents:
        try:
            named |= set(_snapshots(json.loads(path.read_text(encoding="utf-8"))))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{path} was expected to say which training set it came from, and cannot be read: {error}. Mend or remove it; "
                "until then no training set is removed."
            ) from error
    return named


def remove_unused(lake: Lake, bundles: Path, keep_for: timedelta, now: datetime | None = None) -> list[str]:
    """Remove training sets that nothing names and that have not changed for `keep_for`; returns the names of their tables.

    Candidates that nobody holds go first: a training set per week would be kept for each of them, for ever.
    """
    oldest = (now or datetime.now(UTC)) - keep_for
    remove_candidates(bundles, oldest)
    named = named_snapshots(bundles)
    removed = []
    for name in table_names(lake):
        folder, _, snapshot = name.partition("/")
        if folder != TRAINING_SETS or snapshot in named:
            continue
        # By its data: upkeep writes checkpoints, which make its log look young. One without data is being written just now.
        files = [(path.startswith("_delta_log"), at) for path, _, at in files_of(lake, name)]
        changed = [at for in_log, at in files if not in_log] or [at for _, at in files]
        if max(changed, default=oldest) <= oldest:
            remove_table(lake, name)
            removed.append(name)
    return removed


def _snapshots(document: object) -> list[str]:
    """Every value under the name `snapshot`, at any depth."""
    if isinstance(document, dict):
        own = [document["snapshot"]] if isinstance(document.get("snapshot"), str) else []
        return own + [each for value in document.values() for each in _snapshots(value)]
    if isinstance(document, list):
        return [each for value in document for each in _snapshots(value)]
    return []

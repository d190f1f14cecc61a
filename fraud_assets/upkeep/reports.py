"""Data-quality reports that are too old. The newest of each table stays, whatever its age."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fraud_assets.quality import write_index


def remove_old_reports(folder: Path, keep_days: int, now: datetime | None = None) -> int:
    """Remove reports made more than `keep_days` ago, and write the index anew; returns how many went."""
    cutoff = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    made: dict[Path, list[tuple[datetime, Path]]] = {}
    for path in folder.rglob("report.json"):
        try:
            at = datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["made_at"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or none of ours
        made.setdefault(path.parent.parent, []).append((at, path.parent))
    old = [place for reports in made.values() for at, place in sorted(reports)[:-1] if at < cutoff]
    for place in old:
        shutil.rmtree(place, ignore_errors=True)
    if old:
        write_index(folder)
    return len(old)

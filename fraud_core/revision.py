"""Which revision of the code is running."""

import subprocess
from functools import cache
from pathlib import Path


@cache
def git_commit() -> str:
    """The commit that this checkout stands at; empty where the code was installed as a package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()

"""Files that are written at the end of a long run, looked at before it begins."""

import tempfile
from pathlib import Path

from fraud_core.errors import SettingsError


def require_writable(path: Path) -> None:
    """Raise SettingsError where a file cannot be written at `path`; creates the folder it is to lie in."""
    if path.is_dir():
        raise SettingsError(
            f"A file was expected to be written at {path}, which is a folder. Name a file in it."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}. Name a file in a folder that this user may write to."
        ) from error

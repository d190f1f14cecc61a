"""Where people find a data-quality report."""

from pathlib import Path
from urllib.parse import quote

from fraud_core.settings import Settings


def report_address(settings: Settings, folder: Path) -> str:
    """The address at which a folder inside the reports folder is served."""
    return f"{settings.reports_url}/{quote(folder.relative_to(settings.reports_path).as_posix())}/".replace(
        "/./", "/"
    )

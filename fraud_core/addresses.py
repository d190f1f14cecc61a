"""Addresses and folders as people set them: checked early, and shown without their passwords."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from fraud_core.redis_connection import sentinel_address

_IN_QUERY = re.compile(r"(?i)(?<=password=)[^&]*|(?<=username=)[^&]*")
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


def redacted(address: str) -> str:
    """An address without user, password and whatever query parameter holds one; other text as it is."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    shown = f"***@{rest.rpartition('@')[2]}" if "@" in rest else rest
    return f"{scheme}://{_IN_QUERY.sub('***', shown)}"


def checked_redis_address(address: str) -> str:
    """The address; raises ValueError when no Redis can be at it."""
    if not address:
        return address
    form = "redis://host:6379/0, rediss://…, unix://… or redis+sentinel://… was expected"
    try:
        if sentinel_address(address) is not None:
            return address
        parts = urlsplit(address)
        _ = parts.port  # read to be judged
    except ValueError as error:
        raise ValueError(f"{form} ({error})") from None
    if parts.scheme not in REDIS_SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(form)
    return address


def checked_folder(folder: Path) -> Path:
    """The path; raises ValueError when a file stands where the folder or one above it should be."""
    path = folder.expanduser().absolute()
    for each in (path, *path.parents):
        if each.exists() and not each.is_dir():
            raise ValueError(f"a folder was expected, and {each} is a file")
    return folder

"""Addresses and folders as people set them: checked early, and shown without their passwords."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from fraud_core.redis_connection.address import SCHEMES, cluster_address, sentinel_address, speaks_tls

_IN_QUERY = re.compile(r"(?i)(?<=password=)[^&]*|(?<=username=)[^&]*")


def redacted(address: str) -> str:
    """An address without user, password and whatever query parameter holds one, also where its scheme is missing or
    misspelt; other text as it is."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    login, at, place = rest.rpartition("@")
    shown = f"***@{place}" if at and (separator or ":" in login) else rest
    return f"{scheme}{separator}{_IN_QUERY.sub('***', shown)}"


def checked_redis_address(address: str) -> str:
    """The address; raises ValueError when no Redis can be at it."""
    if not address:
        return address
    form = "redis://host:6379/0, rediss://…, unix://…, redis+sentinel://… or redis+cluster://… was expected"
    try:
        if sentinel_address(address) is not None or cluster_address(address) is not None:
            return address
        parts = urlsplit(address)
        _ = parts.port  # read to be judged
    except ValueError as error:
        raise ValueError(f"{form} ({error})") from None
    if parts.scheme not in SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(form)
    return address


def checked_tls_file(file: str, address: str) -> str:
    """The file of certificates or of a key as an absolute path; raises ValueError when it is none, or is for an address without TLS."""
    if not file:
        return file
    if not speaks_tls(address):
        raise ValueError(
            f"it counts for TLS alone, and SPEARHEAD_REDIS_URL is {redacted(address) or 'empty'}: rediss://… was expected there"
        )
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise ValueError("a file (PEM) was expected, and there is none")
    return str(path)


def checked_folder(folder: Path) -> Path:
    """The path; raises ValueError when a file stands where the folder or one above it should be."""
    path = folder.expanduser().absolute()
    for each in (path, *path.parents):
        if each.exists() and not each.is_dir():
            raise ValueError(f"a folder was expected, and {each} is a file")
    return folder

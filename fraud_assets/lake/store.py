"""The store beneath the tables: its address, its credentials, and proof that it is safe to commit to.

Exactly once rests on a commit that fails when another was first. A local or NFS path gives that; an object store only
when it honours `If-None-Match`, and one that ignores it loses rows without a word, so it is asked at start-up.
"""

import contextlib
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from fraud_core.errors import LakeError, UnsafeStore
from fraud_core.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_PLAIN = "/!$&'()*+,;=:@"
"""Beside letters, digits and -_.~: what the address of a file holds as it is. polars looks for anything else under its escaped name."""


def is_object_store(uri: str) -> bool:
    """Whether the lake is an object store rather than a path."""
    return "://" in uri


def storage_options(settings: Settings) -> dict[str, str]:
    """What delta-rs and polars need to reach the lake; empty for a path."""
    if not is_object_store(settings.lake_uri):
        return {}
    if not settings.lake_uri.startswith("s3://"):
        raise LakeError(
            f"SPEARHEAD_LAKE was expected to be a path or s3://bucket/prefix; it is {settings.lake_uri}. "
            "Use the store's S3 address."
        )
    options = {
        "aws_region": settings.s3_region,
        "aws_endpoint_url": settings.s3_endpoint,
        "aws_access_key_id": settings.s3_access_key.get_secret_value(),
        "aws_secret_access_key": settings.s3_secret_key.get_secret_value(),
        "aws_conditional_put": "etag",
        "aws_virtual_hosted_style_request": "false" if settings.s3_endpoint else "",
        "allow_http": "true" if settings.s3_endpoint.startswith("http://") else "",
        "timeout": f"{settings.s3_timeout_s:g}s",
        "retry_timeout": f"{3 * settings.s3_timeout_s:g}s",
        "connect_timeout": "5s",
    }
    return {name: value for name, value in options.items() if value}


def object_store(uri: str, options: Mapping[str, str], *, hasty: bool = False) -> ObjectStore:
    """The files beneath an address, whether it is a path or an object store. `hasty` gives up soon instead of trying again."""
    if not is_object_store(uri):
        return LocalStore(uri)
    address = urlsplit(uri)
    client: ClientConfig = {"allow_http": "allow_http" in options}
    for name in ("timeout", "connect_timeout"):
        if name in options:
            client[name] = options[name]
    if hasty:
        client |= {"timeout": "10s", "connect_timeout": "5s"}
    return S3Store(
        address.netloc,
        prefix=address.path.strip("/") or None,
        config={name: value for name, value in options.items() if name.startswith("aws_")},  # type: ignore[arg-type]  # obstore declares each name
        client_options=client,
        retry_config={"max_retries": 2} if hasty else _patience(options),
    )


def _patience(options: Mapping[str, str]) -> "RetryConfig | None":
    """As patient as delta-rs is with the same options."""
    seconds = options.get("retry_timeout", "").removesuffix("s")
    return {"retry_timeout": timedelta(seconds=float(seconds))} if seconds else None


def probe_store(settings: Settings) -> None:
    """Refuse a store that must not be written to. Raises UnsafeStore, or LakeError when it cannot be reached."""
    if is_object_store(settings.lake_uri):
        _probe_conditional_put(settings)
    else:
        _probe_path(Path(settings.lake_uri), settings.lake_marker)


def _probe_path(root: Path, marker: str) -> None:
    if odd := sorted({letter for letter in str(root) if quote(letter, safe=_PLAIN) != letter}):
        raise LakeError(
            f"The lake's path was expected to hold letters, digits and -_.~ alone, for tables are found by their address; {root} holds "
            f"{' '.join(map(repr, odd))}. Set SPEARHEAD_LAKE (or SPEARHEAD_HOME) to another folder."
        )
    if marker:
        if not (root / marker).is_file():
            raise UnsafeStore(
                f"The lake {root} was expected to hold the marker file {marker} (SPEARHEAD_LAKE_MARKER); it does not. "
                f"Mount the volume; on a new one, create the marker once: touch {root / marker}"
            )
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeError(
            f"The lake {root} cannot be created: {error}. Set SPEARHEAD_LAKE to a folder that can be written to."
        ) from error


def _probe_conditional_put(settings: Settings) -> None:
    """Two puts of one object that must not exist: the second has to be refused."""
    store = object_store(settings.lake_uri, storage_options(settings), hasty=True)
    name = f"_probe/{uuid.uuid4().hex}"
    where = f"{settings.lake_uri} (endpoint {settings.s3_endpoint or 'default'})"
    try:
        store.put(name, b"first", mode="create")
        try:
            store.put(name, b"second", mode="create")
        except AlreadyExistsError:
            return
        finally:
            with contextlib.suppress(BaseError):  # what matters is the answer to the put
                store.delete(name)
    except BaseError as error:
        raise LakeError(
            f"The object store of {where} was expected to take a put; it did not: {error}. Check that it is up, that "
            "the bucket exists, and SPEARHEAD_S3_ENDPOINT, SPEARHEAD_S3_ACCESS_KEY and SPEARHEAD_S3_SECRET_KEY."
        ) from error
    raise UnsafeStore(
        f"The object store of {where} ignores If-None-Match: a second put of the same new object was expected to be "
        "refused with 412 and was accepted, so that racing commits would overwrite each other and lose rows. Use a "
        "store (or a version of it) that honours conditional writes; nothing was written."
    )

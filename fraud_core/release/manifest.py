"""The manifest of a release bundle: what is in it, what it was made of, and how good it was found to be.

Invariant: `digest` is the sha256 of everything else that the manifest says, and the version ends with its first eight
digits, so a manifest that was edited by hand no longer fits its own name.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION_PATTERN = r"^m-\d{8}T\d{6}Z-[0-9a-f]{8}$"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Measure(_Record):
    """A metric on the test rows, with the bounds of its 95 % interval where one was computed."""

    value: float
    low: float | None = None
    high: float | None = None


class Thresholds(_Record):
    """Scores at which a payment is reviewed and declined (score >= threshold)."""

    review: float = Field(ge=0)
    decline: float = Field(ge=0)


class TrainingRecord(_Record):
    """Where the model's knowledge comes from: the immutable snapshot of rows and its time window."""

    snapshot: str
    trained_at: datetime
    from_: datetime = Field(alias="from")
    to: datetime
    rows: int = Field(ge=1)
    frauds: int = Field(ge=1)
    parameters: dict[str, Any] = {}


class Manifest(_Record):
    """Everything a reader must know to serve the model, without opening any other file."""

    format: Literal[1] = 1
    model_version: Annotated[str, Field(pattern=VERSION_PATTERN)] = ""
    digest: str = ""
    created_at: datetime
    features: tuple[str, ...] = Field(min_length=1)
    feature_hashes: dict[str, str]
    feature_set_hash: str
    contract_versions: dict[str, str]
    thresholds: Thresholds
    metrics: dict[str, Measure]
    training: TrainingRecord
    git_commit: str = ""
    golden: str = "golden.json"
    files: dict[str, str] = {}

    def computed_digest(self) -> str:
        """Sha256 of the manifest without its version and digest."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"model_version", "digest"})
        return hashlib.sha256(
            json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        ).hexdigest()

    def sealed(self, files: dict[str, str]) -> "Manifest":
        """The same manifest naming its files' hashes, with the digest and version that follow from its content."""
        listed = self.model_copy(update={"files": dict(sorted(files.items()))})
        digest = listed.computed_digest()
        version = f"m-{self.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest[:8]}"
        return listed.model_copy(update={"model_version": version, "digest": digest})

    def unmet(self, hashes: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """Features of the model that a feature set lacks, and those that it defines otherwise; `hashes` are the set's, by name."""
        missing = [name for name in self.features if name not in hashes]
        changed = [
            name for name in self.features if name in hashes and hashes[name] != self.feature_hashes.get(name)
        ]
        return missing, changed

    def to_json(self) -> bytes:
        """Readable JSON, the same bytes for the same manifest."""
        content = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()

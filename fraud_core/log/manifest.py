"""A producer's manifest: what was put on the log, as a witness independent of everything that reads it.

Per stream it holds the number of events and, over the events whose payload has a readable id (a string), their
number and the sum modulo 2^64 of `id_hashes`, duplicates included. Sums are the same in any order, so that manifests
of several producers add up; `id_hashes` is the one definition, used here and by `spearhead verify`.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud_core.errors import DataFileError

FORMAT = 1
_MASK = (1 << 64) - 1
_SHORT = 64
"""Ids up to this many bytes are hashed as 8-byte words, all rows at once; longer ones (nobody's) by BLAKE2b."""


def id_hashes(ids: Sequence[str]) -> NDArray[np.uint64]:
    """A 64-bit hash of each id, vectorised (about 0.2 µs each): ids of n UTF-8 bytes as little-endian words.

    h = n · 0x9E3779B97F4A7C15; for each word w, padded with zeros: h = (h ⊕ w) · 0xFF51AFD7ED558CCD, h ⊕= h >> 32;
    at last h · 0xC4CEB9FE1A85EC53, h ⊕= h >> 29. Longer than 64 bytes: BLAKE2b with 8 bytes, little-endian.
    """
    if not len(ids):
        return np.empty(0, dtype=np.uint64)
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    if lengths.max() <= _SHORT:
        try:
            return _hash_words(np.array(ids, dtype=f"S{_SHORT}"), lengths)
        except UnicodeEncodeError:
            pass  # not ASCII: bytes and characters differ in number
    encoded = [item.encode("utf-8", "surrogatepass") for item in ids]
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    hashes = _hash_words(np.array([item[:_SHORT] for item in encoded], dtype=f"S{_SHORT}"), lengths)
    for row in np.flatnonzero(lengths > _SHORT):
        hashes[row] = int.from_bytes(hashlib.blake2b(encoded[row], digest_size=8).digest(), "little")
    return hashes


def id_hash_sum(ids: Sequence[str]) -> int:
    """Sum of the ids' hashes modulo 2^64."""
    return int(id_hashes(ids).sum(dtype=np.uint64)) & _MASK


def _hash_words(padded: NDArray[np.bytes_], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    words = padded.view("<u8").reshape(len(padded), _SHORT // 8)
    state = lengths.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for position in range((min(_SHORT, int(lengths.max())) + 7) // 8):
        active = lengths > 8 * position
        mixed = (state ^ words[:, position]) * np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(32)
        state = np.where(active, mixed, state)
    state = state * np.uint64(0xC4CEB9FE1A85EC53)
    hashed: NDArray[np.uint64] = state ^ (state >> np.uint64(29))
    return hashed


@dataclass
class StreamCount:
    """What a producer put on one stream."""

    events: int = 0
    ids: int = 0
    id_hash_sum: int = 0


@dataclass
class Manifest:
    """Accumulates what a producer wrote, stream by stream."""

    streams: dict[str, StreamCount] = field(default_factory=dict)

    def add(self, stream: str, ids: Sequence[str], *, unreadable: int = 0) -> None:
        """Count events with these ids (repeated ones as often as they were sent) and `unreadable` ones without."""
        count = self.streams.setdefault(stream, StreamCount())
        count.events += len(ids) + unreadable
        count.ids += len(ids)
        count.id_hash_sum = (count.id_hash_sum + id_hash_sum(ids)) & _MASK

    def merge(self, other: "Manifest") -> None:
        """Add what another producer wrote."""
        for stream, theirs in other.streams.items():
            count = self.streams.setdefault(stream, StreamCount())
            count.events += theirs.events
            count.ids += theirs.ids
            count.id_hash_sum = (count.id_hash_sum + theirs.id_hash_sum) & _MASK

    def save(self, path: Path) -> None:
        """Write the manifest, whole or not at all."""
        document = {
            "format": FORMAT,
            "streams": {
                name: {"events": count.events, "ids": count.ids, "id_hash_sum": f"{count.id_hash_sum:016x}"}
                for name, count in sorted(self.streams.items())
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.write("\n")
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Read a manifest. Raises DataFileError when the file is none."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return cls({name: _count(entry) for name, entry in document["streams"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataFileError(
                f"{path} was expected to be a producer's manifest (JSON with 'streams'); it cannot be read as one: "
                f"{error!r}. Pass the file that `spearhead produce` or `spearhead replay` wrote."
            ) from error


def _count(entry: Mapping[str, Any]) -> StreamCount:
    return StreamCount(int(entry["events"]), int(entry["ids"]), int(entry["id_hash_sum"], 16))

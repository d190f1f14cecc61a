"""Offsets of the log on Redis: an entry's id as one integer, ms << 20 | seq, refused where the sequence number does not fit."""

import numpy as np
from numpy.typing import NDArray

from fraud_core.errors import LogError

SEQ_BITS = 20
MAX_SEQ = (1 << SEQ_BITS) - 1
SEQ_ALARM = MAX_SEQ - (1 << 17)
"""Far enough below the limit that every producer's pipelines in flight still fit."""


def to_offset(entry_id: bytes | str) -> int:
    """The offset of a Redis entry id. Raises LogError when the id does not fit."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    ms, _, seq = text.partition("-")
    if int(seq) > MAX_SEQ:
        raise too_many(text)
    return int(ms) << SEQ_BITS | int(seq)


def to_id(offset: int) -> str:
    """The Redis entry id of an offset."""
    return f"{offset >> SEQ_BITS}-{offset & MAX_SEQ}"


def to_offsets(ids: list[bytes]) -> NDArray[np.int64]:
    """The offsets of many ids."""
    if not ids:
        return np.empty(0, dtype=np.int64)
    parts = np.fromstring(b" ".join(ids).replace(b"-", b" ").decode(), dtype=np.int64, sep=" ").reshape(-1, 2)
    if int(parts[:, 1].max()) > MAX_SEQ:
        raise too_many(ids[int(parts[:, 1].argmax())].decode())
    return (parts[:, 0] << SEQ_BITS) | parts[:, 1]


def too_many(entry_id: str) -> LogError:
    """What to say of an id whose sequence number does not fit."""
    return LogError(
        f"Entry id {entry_id} has a sequence number above {MAX_SEQ}, the most that an offset can hold. The clock of Redis "
        "stood still or went back while more than a million entries came in: let the clock catch up, then move the "
        "entries of that millisecond to a new stream."
    )

"""Which shard an entry goes to where its producer gives no key: the same for every log."""

import zlib
from collections.abc import Sequence

from fraud_core.errors import LogError
from fraud_core.log.protocol import Entry


def choose_shards(
    stream: str, entries: Sequence[Entry], count: int, shard: int | None, *, keyed: bool
) -> list[int] | None:
    """The number of a shard for each entry, of `count`; None where keys decide, each log in its own way.

    Raises LogError when `shard`, which all of them are to go to, is none of the stream's.
    """
    if shard is not None and not 0 <= shard < count:
        raise LogError(
            f"A shard of {stream} below {count} was expected, found {shard}: the stream has {count}."
        )
    if shard is not None or count == 1:
        return [shard or 0] * len(entries)
    if keyed:
        return None
    # Equal payloads together, so that a repeated event meets its first copy.
    return [zlib.crc32(entry.payload) % count for entry in entries]

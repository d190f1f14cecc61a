"""What Redis answered to a read, as entries: from objects, one per entry, or from a reply that was framed where it lies."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud_core.log.framing import JSON_FIELD, from_fields
from fraud_core.log.protocol import JSON, NO_VIRTUAL_TIME, Entries, Kind, Shard
from fraud_core.log.range_reply import RangeReply
from fraud_core.log.redis_ids import MAX_SEQ, SEQ_BITS, to_offsets, too_many


def entries_of(shard: Shard, raw: list[Any], after: int) -> Entries:
    """Entries as the client gives them: id and fields each."""
    count = len(raw)
    offsets = to_offsets([item[0] for item in raw])
    kinds: list[Kind]
    payloads: list[bytes]
    virtual: NDArray[np.int64] = np.full(count, NO_VIRTUAL_TIME, dtype=np.int64)
    replay_of: dict[int, str] = {}
    held: dict[int, int] = {}
    if all(
        len(item[1]) == 2 and item[1][0] == JSON_FIELD for item in raw
    ):  # the common case, at a third of the cost
        kinds, payloads = [JSON] * count, [item[1][1] for item in raw]
    else:
        kinds, payloads = [], []
        for row, (_, fields) in enumerate(raw):
            kind, payload, virtual[row], origin, events = from_fields(fields)
            if origin is not None:
                replay_of[row] = origin
            if events != 1:
                held[row] = events
            kinds.append(kind)
            payloads.append(payload)
    return Entries(
        shard=shard,
        offsets=offsets,
        append_ms=offsets >> SEQ_BITS,
        kinds=kinds,
        payloads=payloads,
        virtual_ms=virtual,
        end=int(offsets[-1]) if count else after,
        replay_of=replay_of,
        held=held,
    )


def framed_entries(shard: Shard, reply: RangeReply, after: int) -> Entries:
    """Entries of a reply of single JSON events."""
    count = len(reply.ms)
    if count and int(reply.seq.max()) > MAX_SEQ:
        row = int(reply.seq.argmax())
        raise too_many(f"{reply.ms[row]}-{reply.seq[row]}")
    offsets = (reply.ms << SEQ_BITS) | reply.seq
    return Entries(
        shard=shard,
        offsets=offsets,
        append_ms=reply.ms,
        kinds=[JSON] * count,
        payloads=reply.payloads,
        virtual_ms=np.full(count, NO_VIRTUAL_TIME, dtype=np.int64),
        end=int(offsets[-1]) if count else after,
    )

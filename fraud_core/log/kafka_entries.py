"""Messages of Kafka as entries of the log: what they carry in headers, and the append times that verdicts rest on."""

import itertools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud_core.errors import LogError
from fraud_core.log.framing import JSON_FIELD, from_fields
from fraud_core.log.kafka_appender import FRAMING_HEADER, HEADER_OF
from fraud_core.log.protocol import BLOCK, JSON, NO_VIRTUAL_TIME, Entries, Kind, Shard

_OURS: Final = "spearhead-"
_FIELD_OF: Final = {header: field for field, header in HEADER_OF.items()}
_APPEND_TIME: Final = 2


def entries_of(shard: Shard, messages: list[Any], end: int) -> Entries:
    """Entries of messages as fetched. Raises LogError for one that carries its producer's time."""
    from confluent_kafka import Message

    count = len(messages)
    offsets = np.fromiter(map(Message.offset, messages), dtype=np.int64, count=count) + 1
    times = np.fromiter(
        itertools.chain.from_iterable(map(Message.timestamp, messages)), dtype=np.int64, count=2 * count
    ).reshape(count, 2)
    if (times[:, 0] != _APPEND_TIME).any():
        raise LogError(
            f"Offset {int(offsets[times[:, 0] != _APPEND_TIME][0])} of {shard} carries its producer's time; the broker's append "
            "time was expected (message.timestamp.type=LogAppendTime), for verdicts rest on it. It was appended before the topic "
            "was set so: create a new topic with that setting and send its events there. Nothing was skipped."
        )
    payloads: list[bytes] = list(map(Message.value, messages))
    kinds: list[Kind] = [JSON] * count
    virtual: NDArray[np.int64] = np.full(count, NO_VIRTUAL_TIME, dtype=np.int64)
    replay_of: dict[int, str] = {}
    held: dict[int, int] = {}
    if None in payloads:  # a message without a value holds no event: it is kept as what cannot be read
        payloads = [payload or b"" for payload in payloads]
    headers = list(map(Message.headers, messages))
    if any(headers):
        for row, named in enumerate(headers):
            if named:
                fields = _fields(named, payloads[row])
                found = from_fields(fields)
                kinds[row], payloads[row], virtual[row] = found.kind, found.payload, found.virtual_ms
                if found.replay_of is not None:
                    replay_of[row] = found.replay_of
                if found.kind == BLOCK:
                    held[row] = found.events
    return Entries(
        shard=shard,
        offsets=offsets,
        append_ms=times[:, 1].copy(),
        kinds=kinds,
        payloads=payloads,
        virtual_ms=virtual,
        end=end,
        replay_of=replay_of,
        held=held,
    )


def _fields(headers: list[tuple[str, bytes | None]], payload: bytes) -> list[bytes]:
    """Our headers as the fields of an entry; those of others (tracing, say) are no matter of ours."""
    framing, fields = JSON_FIELD, list[bytes]()
    for name, value in headers:
        if name == FRAMING_HEADER:
            framing = value or b""
        elif name.startswith(_OURS):
            fields += [_FIELD_OF.get(name, name.encode()), value or b""]
    return [framing, payload, *fields]

"""An event's identity, written out: what an entry that brings a quarantined event back names as its `replay_of`.

It is the identity of the event's *first* appearance, also when what came back was refused and is brought back again: so
every copy of one event names the same origin, by which ingestion lets at most one of them into the table.
"""

import re
from dataclasses import dataclass

from fraud_core.errors import LogError
from fraud_core.log.protocol import Shard

_ORIGIN = re.compile(
    r"([a-z][a-z0-9_]{0,63})/([A-Za-z0-9_.-]{1,64})/([0-9]{1,9})/([0-9]{1,18}|[0-8][0-9]{18})/([0-9]{1,9})",
    re.ASCII,
)


@dataclass(frozen=True, order=True)
class Origin:
    """Where an event stands in the log: stream, life of the log, shard, offset, index in its entry."""

    stream: str
    incarnation: str
    shard: int
    offset: int
    index: int

    @classmethod
    def parse(cls, text: str) -> "Origin":
        """Read `stream/incarnation/shard/offset/index`. Raises LogError where `text` is none."""
        match = _ORIGIN.fullmatch(text)
        if match is None:
            raise LogError(
                "The identity of an event was expected as stream/incarnation/shard/offset/index, such as "
                f"transactions/3f2a9c81d0e4/0/1876500000000000000/0; found {text[:120]!r}. `spearhead quarantine list` shows them."
            )
        stream, incarnation, shard, offset, index = match.groups()
        return cls(stream, incarnation, int(shard), int(offset), int(index))

    @property
    def log_shard(self) -> Shard:
        """The shard that holds the entry."""
        return Shard(self.stream, self.shard, self.incarnation)

    def __str__(self) -> str:
        return f"{self.stream}/{self.incarnation}/{self.shard}/{self.offset}/{self.index}"

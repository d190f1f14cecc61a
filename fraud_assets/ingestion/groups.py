"""Groups of shards: how several ingest runs divide the log among them, so that each shard still has one writer.

Where two runs take one shard all the same (a group's number changed, somebody started a run by hand), commits settle it:
nothing is lost or doubled, only work is done twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fraud_assets.lake.schemas import STREAMS
from fraud_core.log import Log, Shard


@dataclass(frozen=True)
class ShardGroup:
    """One of `of` groups; together they hold every shard of every stream once."""

    number: int = 0
    of: int = 1

    def holds(self, shard: Shard) -> bool:
        """Whether the shard is this group's. Streams begin at different groups, so that few shards spread as well."""
        return (STREAMS.index(shard.stream) + shard.number) % self.of == self.number

    def shards(self, log: Log, streams: Sequence[str]) -> list[Shard]:
        """This group's shards of some streams."""
        return [shard for stream in streams for shard in log.shards(stream) if self.holds(shard)]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


EVERY_SHARD: Final = ShardGroup()

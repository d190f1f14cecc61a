"""Decisions that the log holds and the lake not yet, as the rows that they will be: read and judged by ingestion's own code.

The rebuild registers as a reader of the decisions first, so that nothing is trimmed that it has still to read.
"""

import polars as pl

from fraud_assets.ingestion.plan import Plan
from fraud_assets.ingestion.reading import read_batch
from fraud_assets.ingestion.rows import main_rows
from fraud_assets.ingestion.uniqueness import UniquenessWindow
from fraud_assets.ingestion.verdicts import judge_batch
from fraud_assets.lake import DECISIONS
from fraud_assets.lake.schemas import TRANSACTIONS
from fraud_core.contracts import Contracts
from fraud_core.log import Log, Shard

READER = "rebuild"
_WINDOW = 100_000


class Tail:
    """Follows every shard of the decisions from where the lake's part ends."""

    def __init__(self, log: Log, contracts: Contracts, positions: dict[Shard, int]) -> None:
        self._log, self._contracts = log, contracts
        self.positions = dict(positions)
        self._windows = {shard: UniquenessWindow(_WINDOW) for shard in positions}

    def read(self, limit: int) -> pl.DataFrame | None:
        """Payments of the next decisions, at most about `limit` of each shard; None at the end of the log.

        Raises LostRange when entries are gone that were not read.
        """
        frames = [rows for shard in self.positions if (rows := self._read(shard, limit)) is not None]
        return pl.concat(frames) if frames else None

    def _read(self, shard: Shard, limit: int) -> pl.DataFrame | None:
        after, end = self.positions[shard], self._log.end(shard)
        if end <= after:
            return None
        batch = read_batch(self._log, shard, Plan(after, end, (), judged=False), self._contracts, limit)
        if batch.end == after:
            return None
        window = self._windows[shard]
        verdicts = judge_batch(self._contracts, batch, window)
        window.settle()
        self.positions[shard] = batch.end
        return main_rows(self._contracts, TRANSACTIONS, batch, verdicts)


def register(log: Log, ends: dict[Shard, int]) -> None:
    """Keep the decisions after these offsets from being trimmed."""
    for shard, end in ends.items():
        if shard.stream == DECISIONS:
            log.advance_reader(shard, READER, end)


def forget(log: Log) -> None:
    """Let the decisions be trimmed again."""
    for shard in log.shards(DECISIONS):
        log.forget_reader(shard, READER)

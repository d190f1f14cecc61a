"""Reading the range that probably comes next, and judging its events one by one, while the plan before it is committed.

A thread of its own does so. It is a guess and no promise: a step takes what was read only where it is exactly what its own plan asks for, and reads for
itself otherwise. So the order of verdicts and commits stays as it was; only the waiting for the log is gone.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from fraud_assets.ingestion.plan import Plan
from fraud_assets.ingestion.reading import Batch, read_batch
from fraud_assets.ingestion.verdicts import Violations, judge_alone
from fraud_core.contracts import Contracts
from fraud_core.errors import SpearheadError
from fraud_core.log import Log, Shard

_WORTH_IT = 4
"""A batch of less than a quarter of a plan is read again, since more has come in meanwhile."""


@dataclass(frozen=True)
class _Guess:
    shard: Shard
    start: int
    end: int
    max_events: int
    batch: Future[tuple[Batch, Violations]]


class ReadAhead:
    """Reads at most one batch ahead, so that memory stays bounded however many shards there are. `log` is its own."""

    def __init__(self, log: Log, contracts: Contracts) -> None:
        self._log, self._contracts = log, contracts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._guess: _Guess | None = None

    def begin(self, shard: Shard, start: int, end: int, max_events: int) -> None:
        """Read what follows `start`, up to `end`; nothing while another shard's batch waits."""
        if self._guess is None and start < end:
            plan = Plan(start, end, (), judged=False)
            batch = self._thread.submit(self._read, shard, plan, max_events)
            self._guess = _Guess(shard, start, end, max_events, batch)

    def _read(self, shard: Shard, plan: Plan, max_events: int) -> tuple[Batch, Violations]:
        batch = read_batch(self._log, shard, plan, self._contracts, max_events)
        return batch, judge_alone(self._contracts, batch)

    def take(self, shard: Shard, plan: Plan, max_events: int) -> tuple[Batch, Violations] | None:
        """The batch of `plan` and the verdicts on its events alone, if it is the one that was read; waits for it then."""
        guess = self._guess
        if guess is None or guess.shard != shard:
            return None
        self._guess = None
        fits = not plan.judged and (guess.start, guess.max_events) == (plan.start, max_events)
        if not fits or guess.end > plan.end:
            guess.batch.cancel()
            return None
        try:
            batch, judged = guess.batch.result()
        except SpearheadError:  # read again, and let that attempt say what is wrong
            return None
        enough = len(batch) * _WORTH_IT >= max_events or guess.end == plan.end
        return (batch, judged) if enough and batch.end > batch.start else None

    def forget(self, shard: Shard) -> None:
        """Drop what was read for a shard."""
        if self._guess is not None and self._guess.shard == shard:
            self._guess.batch.cancel()
            self._guess = None

    def close(self) -> None:
        """Wait for the thread and drop what it read."""
        self._thread.shutdown(cancel_futures=True)
        self._guess = None
        self._log.close()

"""The stream scorer: payments that producers put on the `transactions` stream are scored as those over HTTP are.

It is a registered reader of the log, so nothing is trimmed before it was seen, and it goes through the same claim: a
payment scored over HTTP too, or read again after a crash, is neither applied nor logged twice.

What it passes over, counted: events that break the contract (ingestion quarantines them), events that the state's last
rebuild has folded already, and events known for longer than `scorer_max_age_s` (history for the lake, or a backlog too
old to act on); these are left to the next rebuild of the state.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from fraud_core.contracts import parse_block
from fraud_core.errors import LogUnavailable, LostRange
from fraud_core.log import JSON, SCORER, UNKNOWN, Entries, Log, Shard, open_log
from fraud_core.settings import Settings
from fraud_serving.runtime import Runtime
from fraud_serving.scoring import metrics
from fraud_serving.scoring.reading import ContractBroken, NotJson, read_submission
from fraud_serving.scoring.submission import Answered, Conflict, Outcome, Submission

log = logging.getLogger(__name__)

STREAM: Final = "transactions"
ENTRIES: Final = 256
"""Entries of one read; a block entry counts as one and may hold many events."""
CHUNK: Final = 64
IDLE_S: Final = 0.02
RETRY_S: Final = 0.5


@dataclass(frozen=True)
class Pending:
    """One event as found in the log."""

    payload: bytes
    known_ms: int


class StreamScorer:
    """Reads every shard of the stream, scores, and records how far it came."""

    def __init__(self, runtime: Runtime, events: Log) -> None:
        self._runtime = runtime
        self._log = events
        self._contract = runtime.contracts.transactions
        self._max_age_ms = int(runtime.settings.scorer_max_age_s * 1000)
        self._positions: dict[Shard, int] = {}
        self._folded: tuple[int, dict[str, int]] = (-1, {})
        self._stop = asyncio.Event()
        self.scored = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Score until `stop` is set. Raises LostRange when events are gone that neither it nor the state has seen."""
        self._stop = stop
        while not stop.is_set():
            try:
                found = await self.step()
            except LogUnavailable as error:
                log.warning("%s", error)
                await self._rest(RETRY_S)
                continue
            if not found:
                await self._rest(IDLE_S)

    async def _rest(self, seconds: float) -> None:
        """Sleep, but not past the wish to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def step(self) -> int:
        """One read of every shard; returns how many entries were finished."""
        if not self._positions:
            self._positions = await asyncio.to_thread(self._begin)
        finished = 0
        for shard, after in list(self._positions.items()):
            try:
                entries = await asyncio.to_thread(self._read, shard, after)
            except LostRange as error:
                self._positions[shard] = await self._after_the_gap(shard, after, error)
                continue
            if entries.end == after:
                continue
            if len(entries) and not await self._score(entries):
                break  # asked to stop: what is not logged is read again at the next start
            await asyncio.to_thread(
                self._log.advance_reader, shard, SCORER, entries.end, since=after, events=entries.events
            )
            self._positions[shard] = entries.end
            finished += len(entries)
        return finished

    async def _after_the_gap(self, shard: Shard, after: int, error: LostRange) -> int:
        """Where to go on when entries were removed unread: at the oldest one, if the state's rebuild has folded it and so
        everything before it. Raises `error` otherwise, for then there are payments that nobody will ever decide."""
        oldest = await asyncio.to_thread(self._log.oldest, shard)
        folded = (await self._folded_until()).get(shard.app_id, 0)
        if not after < oldest <= folded:
            raise error
        metrics.GAPS.inc()
        log.error(
            "%s The state was rebuilt from what is missing: scoring goes on at the oldest entry.", error
        )
        await asyncio.to_thread(self._log.advance_reader, shard, SCORER, oldest)
        return oldest

    def _begin(self) -> dict[Shard, int]:
        """Go on where this reader stopped; on first use at the oldest entry, whatever is too old being passed over."""
        positions = {}
        for shard in self._log.shards(STREAM):
            after = self._log.readers(shard).get(SCORER)
            if after is None:
                after = 0
                try:
                    self._log.read(shard, 0, self._log.end(shard), 1)
                except LostRange:  # ingestion trimmed up to the entry that it keeps, which is in the lake
                    after = self._log.oldest(shard)
                self._log.advance_reader(shard, SCORER, after)
            positions[shard] = after
        return positions

    def _read(self, shard: Shard, after: int) -> Entries:
        return self._log.read(shard, after, self._log.end(shard), ENTRIES)

    async def _score(self, entries: Entries) -> bool:
        """Whether all of the entries are settled; not so only when asked to stop."""
        folded = (await self._folded_until()).get(entries.shard.app_id, 0)
        chunk: list[Submission] = []
        for pending in self._pending(entries, folded):
            submission = self._submission(pending)
            if submission is not None:
                chunk.append(submission)
            if len(chunk) == CHUNK:
                if not await self._settle(chunk):
                    return False
                chunk = []
        return await self._settle(chunk)

    def _pending(self, entries: Entries, folded: int) -> Iterator[Pending]:
        """Events to score. What is passed over is not unpacked: after a rebuild that may be all of history."""
        oldest_ms = time.time_ns() // 1_000_000 - self._max_age_ms
        for offset, kind, payload, append, virtual in zip(
            entries.offsets.tolist(), entries.kinds, entries.payloads,
            entries.append_ms.tolist(), entries.virtual_ms.tolist(), strict=True,
        ):  # fmt: skip
            known_ms = min(append, virtual) if virtual >= 0 else append
            if offset <= folded:
                metrics.SKIPPED.labels("folded").inc()
            elif known_ms < oldest_ms:
                metrics.SKIPPED.labels("too_old").inc()
            elif kind == JSON:
                yield Pending(payload, known_ms)
            elif kind == UNKNOWN:  # ingestion keeps it in quarantine
                metrics.SKIPPED.labels("unknown_framing").inc()
            else:
                yield from self._rows(payload, known_ms, oldest_ms)

    def _rows(self, payload: bytes, known_ms: int, oldest_ms: int) -> Iterator[Pending]:
        block = parse_block(self._contract, payload)
        virtual: Sequence[int | None] = (
            [None] * block.frame.height if block.virtual_ms is None else block.virtual_ms.to_list()
        )
        for row, own_ms in enumerate(virtual):
            row_ms = known_ms if own_ms is None else min(known_ms, own_ms)
            if row_ms < oldest_ms:
                metrics.SKIPPED.labels("too_old").inc()
            else:
                yield Pending(block.payload(row), row_ms)

    def _submission(self, pending: Pending) -> Submission | None:
        """None for an event that breaks the contract: the lake's quarantine is where it is kept."""
        try:
            return read_submission(
                self._contract,
                pending.payload,
                known_ms=pending.known_ms,
                trace_id=secrets.token_hex(16),
                received=time.monotonic(),
            )
        except (NotJson, ContractBroken):
            metrics.REFUSED.labels("stream").inc()
            return None

    async def _settle(self, chunk: list[Submission]) -> bool:
        """Score until every decision is logged, here or by whoever holds the claim; conflicts are counted and left.

        False when asked to stop before that.
        """
        while chunk:
            if self._stop.is_set():
                return False
            outcomes = await self._runtime.scorer.score(chunk)
            self.scored += sum(isinstance(found, Answered) and found.logged for found in outcomes)
            chunk = [each for each, found in zip(chunk, outcomes, strict=True) if not _is_settled(found)]
            if chunk:
                await self._rest(RETRY_S)
        return True

    async def _folded_until(self) -> dict[str, int]:
        """Shard (its `app_id`) to the offset up to which the state's rebuild has folded it, from the registry of epochs."""
        state = self._runtime.state
        if self._folded[0] != state.epoch():
            try:
                registered = await state.client.hget(state.calls.epochs_key, str(state.epoch()))
            except RedisError as error:
                raise LogUnavailable(
                    f"Redis does not answer: {error}. Scoring goes on when it does."
                ) from error
            self._folded = (state.epoch(), json.loads(registered)["ends"] if registered else {})
        return self._folded[1]


def _is_settled(outcome: Outcome) -> bool:
    return outcome.logged if isinstance(outcome, Answered) else isinstance(outcome, Conflict)


async def run(settings: Settings) -> None:
    """Run a stream scorer until SIGINT or SIGTERM. It begins once there is a model and a state to score with."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runtime = Runtime(settings, source="stream")
    await runtime.start()
    try:
        said: dict[str, str] = {}
        while not stop.is_set() and not (readiness := runtime.readiness()).ready:
            if readiness.missing != said:
                said = readiness.missing
                log.warning("Waiting: %s", "; ".join(said.values()))
            await asyncio.sleep(RETRY_S)
        if not stop.is_set():
            events = open_log(settings)
            try:
                scorer = StreamScorer(runtime, events)
                log.warning("Scoring the stream %s", STREAM)
                await scorer.run(stop)
            finally:
                events.close()
    finally:
        await runtime.stop()

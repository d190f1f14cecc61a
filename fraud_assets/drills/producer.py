"""The drill's producer: writes to every stream all along, and keeps the account that the lake must come to.

What it sends is made so that every verdict is known beforehand: new events, repetitions, other bodies under a used id, events
that break the contract, bytes that are no event; as single entries and as blocks, some in virtual time. When the
broker dies under an append, it looks which of its entries the log has and sends the others again, as a careful
producer would; so its manifest is exact.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

from fraud_assets.lake import DECISIONS, STREAMS
from fraud_core.contracts import Contract, Contracts, parse_json
from fraud_core.errors import LogUnavailable
from fraud_core.log import Entry, Log, Manifest, block_entry, json_entry

T = TypeVar("T")
READER: Final = "drill"
"""Registered so that nothing is trimmed which the producer has to look at after the broker's death."""
_GROUPS: Final = 8
"""Routing keys; an event and its repetition share one, as an account's payments do."""
_REMEMBERED: Final = 200
_AGAIN_S: Final = 0.1


@dataclass
class Verdicts:
    """How many events of a stream have to end where."""

    valid: int = 0
    duplicates: int = 0
    quarantined: int = 0


@dataclass(frozen=True)
class _Event:
    body: bytes
    event_id: str | None
    verdict: str


@dataclass
class _Stream:
    name: str
    contract: Contract
    make: Callable[[str], dict[str, Any]]
    verdicts: Verdicts = field(default_factory=Verdicts)
    recent: list[deque[_Event]] = field(
        default_factory=lambda: [deque(maxlen=_REMEMBERED) for _ in range(_GROUPS)]
    )
    made: int = 0


class Producer(threading.Thread):
    """Appends until `stop`, and never lets a shard hold more than `most_entries`."""

    def __init__(
        self, contracts: Contracts, open_log: Callable[[], Log], *, seed: int, most_entries: int = 80
    ) -> None:
        super().__init__(name="drill-producer", daemon=True)
        self.manifest = Manifest()
        self.failure: Exception | None = None
        self._open_log, self._most_entries = open_log, most_entries
        self._random = Random(seed)
        self._ended = threading.Event()
        self._streams = [_stream(contracts, name) for name in STREAMS]
        self._log: Log | None = None

    @property
    def verdicts(self) -> dict[str, Verdicts]:
        """What has to become of the events sent so far, by stream."""
        return {stream.name: stream.verdicts for stream in self._streams}

    def stop(self) -> None:
        """End after the batch at hand, and give the log back to its other readers."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Until `stop`."""
        try:
            while not self._ended.is_set():
                for stream in self._streams:
                    self._send(stream)
                self._wait_for_room()
            self._patiently(self._leave)
        except Exception as error:  # told by whoever runs the drill: a thread has nobody to raise to
            self.failure = error
        finally:
            if self._log is not None:
                self._log.close()

    def _send(self, stream: _Stream) -> None:
        random = self._random
        group = random.randrange(_GROUPS)
        events = [self._event(stream, group) for _ in range(random.randint(3, 30))]
        if random.random() < 0.3:
            events = [event for event in events if event.event_id is not None]
            entries = [block_entry(parse_json(stream.contract, [event.body for event in events]).frame)]
        else:
            entries = [json_entry(event.body, self._virtual_ms()) for event in events]
        self._append(stream.name, entries, f"group-{group}")
        self.manifest.add(
            stream.name,
            [event.event_id for event in events if event.event_id is not None],
            unreadable=sum(event.event_id is None for event in events),
        )
        for event in events:
            setattr(stream.verdicts, event.verdict, getattr(stream.verdicts, event.verdict) + 1)

    def _event(self, stream: _Stream, group: int) -> _Event:
        draw, recent = self._random.random(), stream.recent[group]
        stream.made += 1
        event_id = f"drill-{stream.name}-{stream.made:08d}"
        body = stream.make(event_id)
        if draw < 0.03:
            return _Event(b'{"' + event_id.encode(), None, "quarantined")
        if draw < 0.10:
            del body[stream.contract.event_time]
            return _Event(_json(body), event_id, "quarantined")
        if draw < 0.18 and recent:
            first = self._random.choice(recent)
            return _Event(first.body, first.event_id, "duplicates")
        if draw < 0.20 and recent and stream.name != "labels":  # a label with another body is a correction
            first = self._random.choice(recent)
            other = json.loads(first.body)
            other[stream.contract.event_time] = "2020-02-02T02:02:02.000Z"
            return _Event(_json(other), first.event_id, "quarantined")
        event = _Event(_json(body), event_id, "valid")
        recent.append(event)
        return event

    def _virtual_ms(self) -> int | None:
        return int(time.time() * 1000) - 60_000 if self._random.random() < 0.1 else None

    def _append(self, stream: str, entries: Sequence[Entry], key: str) -> None:
        """Append every entry once, whatever happens to the broker meanwhile. All go to one shard, in order."""
        before = self._patiently(lambda log: self._position(log, stream))
        left = list(entries)
        while left:
            try:
                self._opened().append(stream, left, [key] * len(left))
                return
            except LogUnavailable:
                arrived = self._patiently(lambda log: _entries_after(log, stream, before))
                left = list(entries[arrived:])

    def _position(self, log: Log, stream: str) -> dict[int, int]:
        ends = {}
        for shard in log.shards(stream):
            ends[shard.number] = log.end(shard)
            log.advance_reader(shard, READER, ends[shard.number])
        return ends

    def _wait_for_room(self) -> None:
        def deepest(log: Log) -> int:
            return max(log.depth(shard) for stream in STREAMS for shard in log.shards(stream))

        while self._patiently(deepest) > self._most_entries and not self._ended.wait(_AGAIN_S):
            pass

    def _leave(self, log: Log) -> None:
        for stream in STREAMS:
            for shard in log.shards(stream):
                log.forget_reader(shard, READER)

    def _patiently(self, do: Callable[[Log], T]) -> T:
        """Do it, again and again while the broker is away."""
        while True:
            try:
                return do(self._opened())
            except LogUnavailable:
                time.sleep(_AGAIN_S)

    def _opened(self) -> Log:
        if self._log is None:
            self._log = self._open_log()
        return self._log


def _entries_after(log: Log, stream: str, before: dict[int, int]) -> int:
    return sum(
        len(log.read(shard, before[shard.number], log.end(shard), 1_000_000)) for shard in log.shards(stream)
    )


def _stream(contracts: Contracts, name: str) -> _Stream:
    contract = contracts.for_stream(name)

    def plain(event_id: str) -> dict[str, Any]:
        return {**contract.example(), contract.event_id: event_id}

    def decision(event_id: str) -> dict[str, Any]:
        payment = {**contracts.transactions.example(), contracts.transactions.event_id: event_id}
        return {
            **plain(event_id),
            "seqs": dict.fromkeys(contracts.transactions.entities, 1),
            "event": payment,
        }

    return _Stream(name, contract, decision if name == DECISIONS else plain)


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()

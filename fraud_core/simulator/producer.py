"""Puts chunks of events on the log, in order of arrival, and keeps a manifest of what it sent.

Good events go as blocks or as single JSON entries; malformed ones always as single entries, since a block cannot hold
them. A repeated event always follows its first copy in the same shard.
"""

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.log import Entry, Log
from fraud_core.log.framing import block_entry, json_entry
from fraud_core.log.manifest import Manifest
from fraud_core.simulator.faults import Fault
from fraud_core.simulator.history import Chunk
from fraud_core.simulator.wire import to_json

Form = Literal["block", "json"]
TRANSACTIONS = "transactions"
LABELS = "labels"
_LANES_PER_SHARD = 8


@dataclass
class Sent:
    """Counts of what was put on the log."""

    transactions: int = 0
    frauds: int = 0
    faults: int = 0
    labels: int = 0
    entries: int = 0


class Producer:
    """Appends chunks to a log. `virtual`: with virtual times, for a past; without, for events of this moment."""

    def __init__(
        self, log: Log, *, form: Form = "block", block_events: int = 2_000, virtual: bool = True
    ) -> None:
        self.manifest = Manifest()
        self.sent = Sent()
        self._log = log
        self._form = form
        self._block_events = block_events
        self._virtual = virtual
        shards = len(log.shards(TRANSACTIONS))
        self._lanes = 1 if shards == 1 else shards * _LANES_PER_SHARD

    def send(self, chunk: Chunk) -> None:
        """Append the chunk's transactions with their faults, then its labels."""
        rows = chunk.transactions
        self.sent.frauds += rows.height - rows["_scenario"].null_count()
        rows = rows.drop("_scenario")
        in_blocks, alone = self._split(chunk.faults)
        if in_blocks:
            rows = _repeat(rows, in_blocks)
        lanes = _lane_of(rows["account_id"], self._lanes)
        for lane in range(self._lanes):
            mine = rows if self._lanes == 1 else rows.filter(pl.Series(lanes == lane))
            faults = [
                fault for fault in alone if self._lanes == 1 or _lane(fault.account, self._lanes) == lane
            ]
            self._append(TRANSACTIONS, self._interleaved(mine, faults), lane)
            readable = [fault.event_id for fault in faults if fault.event_id is not None]
            self.manifest.add(
                TRANSACTIONS,
                mine["transaction_id"].to_list() + readable,
                unreadable=len(faults) - len(readable),
            )
        self.sent.transactions += chunk.transactions.height
        self.sent.faults += len(chunk.faults)
        if chunk.labels.height:
            self._append(LABELS, self._entries(chunk.labels), 0)
            self.manifest.add(LABELS, chunk.labels["transaction_id"].to_list())
            self.sent.labels += chunk.labels.height

    def _split(self, faults: list[Fault]) -> tuple[dict[str, int], list[Fault]]:
        """Half of the repeated events travel in blocks (id → time of arrival), all other faults alone."""
        in_blocks = {}
        alone = []
        for fault in faults:
            fits = self._form == "block" and fault.kind == "sent_again" and fault.event_id is not None
            if fits and fault.event_id is not None and zlib.crc32(fault.event_id.encode()) % 2:
                in_blocks[fault.event_id] = fault.known_ms
            else:
                alone.append(fault)
        return in_blocks, alone

    def _interleaved(self, rows: pl.DataFrame, faults: list[Fault]) -> list[Entry]:
        """Entries of the rows, each followed by the faults that arrive before the next one begins."""
        entries: list[Entry] = []
        size = self._block_events if self._form == "block" else max(rows.height, 1)
        waiting = 0
        for start in range(0, rows.height, size):
            part = rows[start : start + size]
            if self._form == "json":
                return _merge(
                    self._entries(part), [self._alone(fault) for fault in faults], part["_virtual_ms"], faults
                )
            entries += self._entries(part)
            end_ms = int(part["_virtual_ms"][-1])
            while waiting < len(faults) and faults[waiting].known_ms <= end_ms:
                entries.append(self._alone(faults[waiting]))
                waiting += 1
        return entries + [self._alone(fault) for fault in faults[waiting:]]

    def _alone(self, fault: Fault) -> Entry:
        return json_entry(fault.payload, fault.known_ms if self._virtual else None)

    def _entries(self, rows: pl.DataFrame) -> list[Entry]:
        if self._form == "block":
            sent = rows if self._virtual else rows.drop("_virtual_ms")
            # The entry's own time covers readers that look no further: the last of its events.
            return [
                block_entry(
                    part, int(rows["_virtual_ms"][start + part.height - 1]) if self._virtual else None
                )
                for start in range(0, sent.height, self._block_events)
                for part in [sent[start : start + self._block_events]]
            ]
        times = rows["_virtual_ms"].to_list()
        return [
            json_entry(payload, known_ms if self._virtual else None)
            for payload, known_ms in zip(to_json(rows), times, strict=True)
        ]

    def _append(self, stream: str, entries: list[Entry], lane: int) -> None:
        if entries:
            keys = None if self._lanes == 1 else [f"lane-{lane}"] * len(entries)
            self._log.append(stream, entries, keys)
            self.sent.entries += len(entries)


def _repeat(rows: pl.DataFrame, again: dict[str, int]) -> pl.DataFrame:
    """The rows and, at their time of arrival, second copies of these events."""
    ids = rows["transaction_id"]
    found = ids.is_in(list(again)).arg_true()
    known_ms = ids.gather(found).replace_strict(again, return_dtype=pl.Int64).to_numpy()
    order = np.argsort(known_ms, kind="stable")
    copied, known_ms = found.to_numpy()[order], known_ms[order]
    times = rows["_virtual_ms"].to_numpy()
    at = np.searchsorted(times, known_ms, side="right")
    both = rows[np.insert(np.arange(rows.height), at, copied)]
    return both.with_columns(pl.Series("_virtual_ms", np.insert(times, at, known_ms)))


def _merge(entries: list[Entry], more: list[Entry], times: pl.Series, faults: list[Fault]) -> list[Entry]:
    """Both lists in order of arrival; a fault stands after what arrived in the same millisecond."""
    known = np.concatenate([times.to_numpy(), np.array([fault.known_ms for fault in faults], dtype=np.int64)])
    both = entries + more
    return [both[index] for index in np.argsort(known, kind="stable")]


def _lane(account: str, lanes: int) -> int:
    return zlib.crc32(account.encode()) % lanes


def _lane_of(accounts: pl.Series, lanes: int) -> NDArray[np.int64]:
    if lanes == 1:
        return np.zeros(accounts.len(), dtype=np.int64)
    unique = accounts.unique().to_list()
    table = {account: _lane(account, lanes) for account in unique}
    numbers: NDArray[np.int64] = accounts.replace_strict(table, return_dtype=pl.Int64).to_numpy()
    return numbers

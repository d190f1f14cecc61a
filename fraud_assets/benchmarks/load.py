"""A load generator that costs next to nothing: events are made once, and sent again and again under new ids.

A command for each event lies ready in memory; before a round is sent, only the digits of its ids are written anew. So a
benchmark measures the reader, not the writer. Ids never repeat, and a manifest counts what was sent.
"""

import socket
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.errors import LogUnavailable
from fraud_core.log import Manifest
from fraud_core.log.framing import JSON_FIELD, encode_block
from fraud_core.simulator.faults import draw_faults
from fraud_core.simulator.history import History
from fraud_core.simulator.rhythm import DAY_MS
from fraud_core.simulator.wire import to_json
from fraud_core.simulator.world import World, WorldSpec

ROUND: Final = 10_000
"""Events of one round."""
_PIPELINE: Final = 1_000
_DIGITS: Final = 12
_PREFIX: Final = "bench-"
_STREAM: Final = "transactions"
_SENT_AGAIN: Final = "sent_again"


def numbered(made: "Templates", first: int) -> tuple[list[bytes], list[str]]:
    """A round of payloads under the ids from `first` on, and those ids."""
    payloads: list[bytes] = []
    ids: list[str] = []
    for payload, own in zip(made.payloads, made.ids, strict=True):
        if own is None:
            payloads.append(payload)
        else:
            ids.append(f"{_PREFIX}{first + len(ids):0{_DIGITS}d}")
            payloads.append(payload.replace(own, ids[-1].encode(), 1))
    return payloads, ids


@dataclass(frozen=True)
class Templates:
    """One round of events: as rows of the contract, and as JSON with a share of faulty ones among them."""

    rows: pl.DataFrame
    payloads: list[bytes]
    ids: list[bytes | None]
    """The id within each payload, None where it shows none."""


def templates(seed: int, violations: float) -> Templates:
    """A round of payments of this hour, `violations` of them faulty: of the wrong type, out of bounds, unreadable."""
    world = World(WorldSpec(seed=seed, accounts=50_000, merchants=5_000, events_per_day=2.0 * ROUND))
    day = int(time.time() * 1000) // DAY_MS
    history = History(world, (day - 2) * DAY_MS, day * DAY_MS)
    rows = pl.concat([chunk.transactions for chunk in history.chunks()])[:ROUND].drop("_scenario")
    now_ms = int(time.time() * 1000) - 3_600_000
    instants = pl.Series(now_ms + np.sort(np.random.default_rng(seed).integers(0, 3_600_000, rows.height)))
    rows = rows.with_columns((instants * 1000).cast(rows.schema["event_ts"]).alias("event_ts"))
    payloads = to_json(rows)
    ids: list[bytes | None] = [each.encode() for each in rows["transaction_id"].to_list()]
    rng = world.rng(day, "benchmark")
    faults = [
        fault
        for fault in draw_faults(rng, rows, min(1.0, 2.0 * violations), f"t{world.spec.mark}", now_ms)
        if not fault.kind.startswith(_SENT_AGAIN)
    ][: round(violations * rows.height)]
    for place, fault in zip(
        rng.choice(rows.height, len(faults), replace=False).tolist(), faults, strict=True
    ):
        payloads[place] = fault.payload
        ids[place] = fault.event_id.encode() if fault.event_id is not None else None
        if ids[place] is not None and b'"transaction_id":"%s"' % ids[place] not in payloads[place]:
            ids[place] = None  # cut off before its id, or within it
    return Templates(rows.drop("_virtual_ms"), payloads, ids)


class JsonLoad:
    """Sends single JSON events to one stream key of a Redis, as fast as it takes them or at a rate."""

    def __init__(self, made: Templates, host: str, port: int, key: str) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.settimeout(60)
        self._pieces, self._places = _packed(made, key)
        self._unreadable = sum(each is None for each in made.ids)
        self._next = 0
        self.sent = 0
        self._rounds: list[int] = []

    def send(self, events: int, rate: float = 0.0, seconds: float = float("inf")) -> float:
        """Send whole thousands of events until there are `events`, at `rate` a second (0: no limit); returns the seconds."""
        begun = time.monotonic()
        sent = 0
        while sent < events and time.monotonic() - begun < seconds:
            piece = self._next % len(self._pieces)
            if piece == 0:
                self._renumber()
            self._exchange(self._pieces[piece])
            self._next += 1
            sent += _PIPELINE
            if rate:
                time.sleep(max(0.0, begun + sent / rate - time.monotonic()))
        self.sent += sent
        return time.monotonic() - begun

    def manifest(self) -> Manifest:
        """What was sent. A round counts whole: send multiples of ROUND, or call `finish` before."""
        manifest = Manifest()
        for first in self._rounds:
            ids = [
                f"{_PREFIX}{number:0{_DIGITS}d}" for number in range(first, first + ROUND - self._unreadable)
            ]
            manifest.add(_STREAM, ids, unreadable=self._unreadable)
        return manifest

    def finish(self) -> None:
        """Send the rest of the round that was begun, and close the connection."""
        rest = -self._next % len(self._pieces)
        if rest:
            self.send(rest * _PIPELINE)
        self._socket.close()

    def _renumber(self) -> None:
        first = len(self._rounds) * ROUND
        self._rounds.append(first)
        numbers = np.arange(first, first + ROUND - self._unreadable)
        done = 0
        for piece, places in zip(self._pieces, self._places, strict=True):
            mine = numbers[done : done + len(places)]
            for digit in range(_DIGITS):
                piece[places + digit] = mine // 10 ** (_DIGITS - 1 - digit) % 10 + ord("0")
            done += len(places)

    def _exchange(self, piece: NDArray[np.uint8]) -> None:
        self._socket.sendall(piece.data)
        lines = 0
        while lines < 2 * _PIPELINE:
            reply = self._socket.recv(1 << 16)
            if not reply or reply.startswith(b"-"):
                raise LogUnavailable(f"Redis refused what the benchmark sent: {reply[:200]!r}")
            lines += reply.count(b"\n")


def _packed(made: Templates, key: str) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.int64]]]:
    """The commands of a round in pieces of a pipeline each, and where in each piece the digits of its ids stand."""
    pieces: list[NDArray[np.uint8]] = []
    places: list[NDArray[np.int64]] = []
    head = b"*5\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n$%d\r\n%s\r\n" % (
        len(key), key.encode(), len(JSON_FIELD), JSON_FIELD,
    )  # fmt: skip
    placeholder = f"{_PREFIX}{0:0{_DIGITS}d}".encode()
    for begin in range(0, ROUND, _PIPELINE):
        commands, digits, length = [], [], 0
        for payload, own in zip(
            made.payloads[begin : begin + _PIPELINE], made.ids[begin : begin + _PIPELINE], strict=True
        ):
            body = payload if own is None else payload.replace(own, placeholder, 1)
            command = b"%s$%d\r\n%s\r\n" % (head, len(body), body)
            if own is not None:
                digits.append(length + command.index(placeholder) + len(_PREFIX))
            commands.append(command)
            length += len(command)
        pieces.append(np.frombuffer(b"".join(commands), dtype=np.uint8).copy())
        places.append(np.array(digits, dtype=np.int64))
    return pieces, places


class BlockLoad:
    """Makes blocks of `size` valid events, each block with ids of its own."""

    def __init__(self, made: Templates, size: int) -> None:
        self._rows, self._size = made.rows, size
        self._blocks = 0
        self.sent = 0

    def make(self, events: int) -> list[bytes]:
        """Blocks that hold `events` together."""
        blocks = []
        for _ in range(events // self._size):
            begin = self._blocks * self._size
            part = self._rows[begin % self._rows.height :][: self._size]
            blocks.append(encode_block(part.with_columns(self._ids(begin, part.height))))
            self._blocks += 1
        self.sent += len(blocks) * self._size
        return blocks

    def manifest(self) -> Manifest:
        """What was made."""
        manifest = Manifest()
        for begin in range(0, self._blocks * self._size, self._size):
            manifest.add(_STREAM, self._ids(begin, self._size).to_list())
        return manifest

    def _ids(self, first: int, count: int) -> pl.Series:
        numbers = pl.int_range(first, first + count, eager=True).cast(pl.String).str.zfill(_DIGITS)
        return (pl.Series(["block-"]).new_from_index(0, count) + numbers).alias("transaction_id")

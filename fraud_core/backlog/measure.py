"""The backlog of every reader of the log, in events and not in entries: a block of a thousand weighs a thousand.

Depth and age are true of one moment; rates need two. A Gauge keeps its last look, so that each further one tells what
came and what was read since. It reads only, and is no reader of the log itself: it holds nothing back.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fraud_core.errors import LostRange
from fraud_core.log import INGEST, SCORER, Log, Shard, Tally
from fraud_core.settings import Settings

Level = Literal["ok", "high", "critical"]
STREAMS: Final = ("transactions", "labels", "decisions")
_CRITICAL: Final = 4
"""Times the threshold."""
_ORDER: Final[tuple[Level, ...]] = ("ok", "high", "critical")


@dataclass(frozen=True)
class Backlog:
    """What one reader has still to read of one shard."""

    stream: str
    shard: int
    reader: str
    events: int
    """Events behind."""
    entries_held: int
    """Entries that the shard holds, read or not: what the reader's delay costs in memory."""
    oldest_age_s: float
    """Since when the oldest event behind has waited; 0 when there is none."""
    arrived_per_s: float | None
    """Events appended since the last look; None on the first."""
    drained_per_s: float | None
    """Events read since the last look."""
    level: Level
    alarm: str = ""
    """What is wrong with the reader itself; empty when it merely has much to do."""

    @property
    def time_to_empty_s(self) -> float | None:
        """At the present rates; None when it does not get shorter, or nothing is known of rates."""
        return _time_to_empty(self.events, self.arrived_per_s, self.drained_per_s)


@dataclass(frozen=True)
class ReaderBacklog:
    """What one reader has still to read in all."""

    reader: str
    events: int
    oldest_age_s: float
    arrived_per_s: float | None
    drained_per_s: float | None
    level: Level
    alarms: tuple[str, ...]

    @property
    def time_to_empty_s(self) -> float | None:
        return _time_to_empty(self.events, self.arrived_per_s, self.drained_per_s)


class Gauge:
    """Looks at the log again and again."""

    def __init__(self, log: Log, settings: Settings, streams: Sequence[str] = STREAMS) -> None:
        self._log, self._settings, self._streams = log, settings, streams
        self._last: dict[Shard, tuple[float, Tally, dict[str, int]]] = {}

    def look(self) -> list[Backlog]:
        """One row per shard and reader; a stream that nobody has used yet has one too. Raises LogUnavailable when the log
        does not answer. Changes nothing in it."""
        rows: list[Backlog] = []
        for stream in self._streams:
            shards = self._log.existing_shards(stream)
            rows += [row for shard in shards for row in self._shard(shard)] or [_unused(stream)]
        return rows

    def _shard(self, shard: Shard) -> Iterable[Backlog]:
        # A stream of which nothing was ingested yet has no reader, but somebody who will have to read it all.
        positions = {INGEST: 0, **self._log.readers(shard)}
        tally, at = self._log.tally(shard), time.monotonic()
        end, held = self._log.end(shard), self._log.depth(shard)
        before = self._last.get(shard)
        self._last[shard] = (at, tally, positions)
        for reader, position in sorted(positions.items()):
            age_s, lost = self._oldest(shard, reader, position, end)
            arrived = drained = None
            stood_still = False
            if before is not None and at > before[0]:
                since_s = at - before[0]
                arrived = max(0, tally.appended - before[1].appended) / since_s
                drained = max(0, tally.passed.get(reader, 0) - before[1].passed.get(reader, 0)) / since_s
                stood_still = before[2].get(reader, 0) == position
            alarm = lost
            if not lost and stood_still and age_s > self._settings.reader_stalled_s:
                alarm = (
                    f"{reader} stands still at {shard}: what came after its last entry has waited for {_span(age_s)}, and the log "
                    "cannot be trimmed. Start it again, or if it will not come back: "
                    f"spearhead log forget {reader} --stream {shard.stream}"
                )
            events = tally.behind(reader)
            yield Backlog(
                stream=shard.stream,
                shard=shard.number,
                reader=reader,
                events=events,
                entries_held=held,
                oldest_age_s=age_s,
                arrived_per_s=arrived,
                drained_per_s=drained,
                level="critical" if alarm else _level(events, threshold(self._settings, reader)),
                alarm=alarm,
            )

    def _oldest(self, shard: Shard, reader: str, position: int, end: int) -> tuple[float, str]:
        """How long the first entry behind has waited, and what is wrong with it."""
        try:
            first = self._log.read(shard, position, end, 1)
        except LostRange as error:
            if self._log.readers(shard).get(reader, 0) != position:  # it moved on, and was trimmed behind
                return 0.0, ""
            return 0.0, str(error)
        return (max(0.0, time.time() - int(first.append_ms[0]) / 1000) if len(first) else 0.0), ""


def _unused(stream: str) -> Backlog:
    return Backlog(
        stream=stream,
        shard=0,
        reader=INGEST,
        events=0,
        entries_held=0,
        oldest_age_s=0.0,
        arrived_per_s=0.0,
        drained_per_s=0.0,
        level="ok",
        alarm="",
    )


def by_reader(rows: Iterable[Backlog], settings: Settings) -> list[ReaderBacklog]:
    """The rows of a look, added up; thresholds are meant for a reader in all."""
    readers: dict[str, list[Backlog]] = {}
    for row in rows:
        readers.setdefault(row.reader, []).append(row)
    return [
        ReaderBacklog(
            reader=reader,
            events=(events := sum(row.events for row in own)),
            oldest_age_s=max(row.oldest_age_s for row in own),
            arrived_per_s=_sum(row.arrived_per_s for row in own),
            drained_per_s=_sum(row.drained_per_s for row in own),
            level=max(
                _level(events, threshold(settings, reader)), *(row.level for row in own), key=_ORDER.index
            ),
            alarms=tuple(row.alarm for row in own if row.alarm),
        )
        for reader, own in sorted(readers.items())
    ]


def threshold(settings: Settings, reader: str) -> int:
    """Events that a reader may be behind."""
    return settings.scorer_backlog_warn if reader == SCORER else settings.ingest_backlog_warn


def _level(events: int, warn: int) -> Level:
    return "critical" if events > _CRITICAL * warn else "high" if events > warn else "ok"


def _sum(rates: Iterable[float | None]) -> float | None:
    known = list(rates)
    return None if None in known else sum(rate for rate in known if rate is not None)


def _time_to_empty(events: int, arrived: float | None, drained: float | None) -> float | None:
    if events == 0:
        return 0.0
    if arrived is None or drained is None or drained <= arrived:
        return None
    return events / (drained - arrived)


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

"""Bringing quarantined events back: repaired or as they came, through the log and the same gate as everything else.

    find ▸ unseal ▸ map ▸ judge by today's contract ▸ audit "intended" ▸ append with replay_of ▸ audit "appended"

Only what would pass is appended; the rest stays open. Killed anywhere, or asked again, it may append a copy more; each
copy names the event's origin, by which ingestion lets one into the table (`fraud_assets.ingestion.replays`).

An event from history keeps the virtual time at which it was known. Any other is known from its return: the features of
what was decided meanwhile did not see it, and must not see it afterwards either.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_assets.ingestion.decisions import inner_events, inner_violations
from fraud_assets.ingestion.failpoint import Failpoint, armed
from fraud_assets.ingestion.replays import replayed_rows
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import Lake, tables_of
from fraud_assets.lake.accepted import check_contracts
from fraud_assets.lake.schemas import DECISIONS
from fraud_assets.quarantine.audit import APPENDED, IDENTITY, INTENDED, Act, Audit
from fraud_assets.quarantine.gate import held_already
from fraud_assets.quarantine.mapping import Mapping, NotRepairable
from fraud_assets.quarantine.selection import Selection, find, payloads
from fraud_core.contracts import Contracts, judge, load_contracts, parse_json
from fraud_core.contracts.rules import UNKNOWN_FRAMING
from fraud_core.errors import CommitRefused, LakeError
from fraud_core.log import BLOCK, JSON, Log, Origin, json_entry, open_log
from fraud_core.log.framing import from_kept
from fraud_core.settings import Settings

REPLAY_FAILPOINTS: Final = ("after_intent", "after_append", "after_conclusion")
SEALED: Final = "sealed"
HELD: Final = "in_the_table"
BLOCK_HELD: Final = "block"
_CHUNK: Final = 10_000
_ATTEMPTS: Final = 20


@dataclass
class ReplayResult:
    """What a replay did or, in a dry run, would do; events are counted once each."""

    selected: int = 0
    passing: int = 0
    """Of those: keep the contract after the repair, and are not in the table."""
    appended: int = 0
    arrived: int = 0
    """Had reached the table by an earlier replay that died before noting it."""
    kept_time: int = 0
    """Of the passing: from history, known at their virtual time as before."""
    refused: Counter[str] = field(default_factory=Counter)
    """Left open, by reason code; an event can have several."""
    ends: dict[str, str] = field(default_factory=dict)
    """Shard to the offset of the last entry appended, as text: numbers in JSON end at 2^53."""
    request: str = ""
    example: tuple[bytes, bytes] | None = None
    """The first passing event before and after its repair."""

    @property
    def left_open(self) -> int:
        """Events that stay in quarantine as they are."""
        return self.selected - self.passing - self.arrived

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without any event."""
        names = ("selected", "passing", "appended", "arrived", "left_open", "kept_time", "ends", "request")
        return {**{name: getattr(self, name) for name in names}, "refused": dict(self.refused.most_common())}


def replay(  # noqa: PLR0917
    settings: Settings,
    lake: Lake,
    selection: Selection,
    actor: str,
    because: str = "",
    mapping: Mapping | None = None,
    *,
    dry_run: bool = False,
    failpoint: Failpoint | None = None,
) -> ReplayResult:
    """Bring the selected violations back; a dry run only judges them.

    Raises SettingsError without an actor, ContractError where ingestion would refuse the contract, LogUnavailable when the log cannot be reached; events appended by then are noted.
    """
    contracts, steps = load_contracts(settings.contracts), mapping or Mapping()
    check_contracts(lake, [contracts.for_stream(stream) for stream in selection.streams])
    act = Act.by(
        actor or ("dry run" if dry_run else ""),
        "replay",
        because,
        mapping_hash=steps.hash,
        mapping=steps.text,
    )
    hit = failpoint or armed(settings.failpoint, REPLAY_FAILPOINTS)
    log = None if dry_run else open_log(settings)
    try:
        work = _Replay(lake, log, contracts, Seal.of(settings), act, steps, hit)
        work.run(replace(selection, kind="violation"))
        return work.result
    finally:
        if log is not None:
            log.close()


@dataclass(frozen=True)
class _Repaired:
    """Events of one stream that could be read and repaired; arrays and lists have one item per event."""

    rows: pl.DataFrame
    before: list[bytes]
    after: list[bytes]
    known_ms: NDArray[np.int64]
    virtual: NDArray[np.bool_]

    def only(self, chosen: list[int]) -> "_Repaired":
        """Those at these places."""
        return _Repaired(
            self.rows[chosen],
            [self.before[row] for row in chosen],
            [self.after[row] for row in chosen],
            self.known_ms[chosen],
            self.virtual[chosen],
        )


def _readable(reasons: Sequence[str], payload: bytes) -> bytes:
    """The event itself, also of an entry whose framing was unknown when it was judged and is known now.

    Raises NotRepairable where it still is unknown, or where the entry holds a block: one row cannot stand for many events,
    since a copy names the row that it brings back, and of one row at most one copy is admitted.
    """
    if UNKNOWN_FRAMING not in reasons:
        return payload
    entry = from_kept(payload)
    if entry.kind != JSON:
        raise NotRepairable(BLOCK_HELD if entry.kind == BLOCK else UNKNOWN_FRAMING)
    return entry.payload


class _Replay:
    """One replay; events are worked on a chunk at a time."""

    def __init__(  # noqa: PLR0917
        self,
        lake: Lake,
        log: Log | None,
        contracts: Contracts,
        seal: Seal,
        act: Act,
        mapping: Mapping,
        hit: Failpoint,
    ) -> None:
        self.lake, self.log, self.contracts, self.seal = lake, log, contracts, seal
        self.act, self.mapping, self.hit = act, mapping, hit
        self.audit = Audit(lake)
        self.result = ReplayResult(request=act.request)
        self.done: set[str] = set()
        """Ids that need not be looked at again when somebody else's act makes it begin anew."""

    def run(self, selection: Selection) -> None:
        """Everything that is selected, by stream and in the order in which it became known."""
        for attempt in range(_ATTEMPTS):
            rows = find(self.lake, selection, self.audit)
            if rows.height:
                rows = rows.filter(~pl.col("id").is_in(list(self.done)))
            try:
                for _, part in rows.group_by("_stream", maintain_order=True):
                    for begin in range(0, part.height, _CHUNK):
                        self.chunk(part[begin : begin + _CHUNK])
            except CommitRefused:
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            return

    def chunk(self, rows: pl.DataFrame) -> None:
        """Rows of one stream. Raises CommitRefused, before anything is appended, when somebody else has acted."""
        stream = str(rows["_stream"][0])
        refused: Counter[str] = Counter()
        arrived = self._arrived(stream, rows)
        left = rows.filter(~pl.col("root").is_in(arrived["root"].unique().implode()))
        ready = self._judged(stream, self._repaired(left, refused), refused)
        if refused[HELD] and self._arrived(stream, left).height:
            # Not the producer's doing: somebody else's replay reached the table since it was looked at.
            raise CommitRefused("Others brought the same events back meanwhile.")
        # Several rows of one event, each brought back and refused before: the last stands for all of them.
        newest = ready.rows.with_row_index("_place").unique("root", keep="last", maintain_order=True)
        chosen = ready.only(newest["_place"].to_list())
        if self.log is not None and (ready.rows.height or arrived.height):
            self._bring_back(self.log, stream, ready.rows, chosen, arrived)
        self._count(rows, ready, arrived, refused)

    def _arrived(self, stream: str, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows whose event is in the table already, with where that copy stands in the log."""
        table = self.lake.table(tables_of(stream)[-1])
        place = {"_shard": "new_shard", "_incarnation": "new_incarnation", "_offset": "new_offset"}
        held = replayed_rows(self.lake, table, set(rows["root"]), list(place))
        return rows.select(*IDENTITY, "id", "root").join(
            held.rename({**place, "_replay_of": "root"}), on="root", how="inner"
        )

    def _repaired(self, rows: pl.DataFrame, refused: Counter[str]) -> _Repaired:
        now_ms = int(time.time() * 1000)
        before: list[bytes] = []
        after: list[bytes] = []
        places: list[int] = []
        for place, payload in enumerate(payloads(self.lake, rows) if rows.height else []):
            try:
                came = _readable(rows["reasons"][place], self.seal.open(payload or b""))
                after.append(self.mapping.apply(came))
            except LakeError:
                refused[SEALED] += 1
            except NotRepairable as error:
                refused[str(error)] += 1
            else:
                before.append(came)
                places.append(place)
        kept = rows[places]
        known_ms = kept["known_at"].dt.epoch("ms").to_numpy()
        appended_ms = kept["appended_at"].dt.epoch("ms").fill_null(strategy="zero").to_numpy()
        virtual = known_ms < appended_ms
        return _Repaired(kept, before, after, np.where(virtual, known_ms, now_ms).astype(np.int64), virtual)

    def _judged(self, stream: str, repaired: _Repaired, refused: Counter[str]) -> _Repaired:
        """Those that keep the contract as it is now, and of which no other copy is in the table under their key."""
        contract = self.contracts.for_stream(stream)
        parsed = parse_json(contract, repaired.after)
        reasons = dict(judge(contract, parsed.frame, repaired.known_ms, parsed.found).reasons)
        if stream == DECISIONS:
            inner = inner_events(self.contracts, parsed.frame)
            for row, codes in inner_violations(
                self.contracts, parsed.frame, inner, repaired.known_ms
            ).items():
                reasons[row] = (*reasons.get(row, ()), *codes)
        keeps = [row for row in range(len(repaired.after)) if row not in reasons]
        held = held_already(self.lake, tables_of(stream)[-1], stream, contract, parsed.frame[keeps])
        for place, same in held.items():
            reasons[keeps[place]] = (HELD,) if same else (f"{contract.event_id}.duplicate_other_body",)
        for codes in reasons.values():
            refused.update(codes)
        return repaired.only([row for row in keeps if row not in reasons])

    def _bring_back(
        self, log: Log, stream: str, rows: pl.DataFrame, chosen: _Repaired, arrived: pl.DataFrame
    ) -> None:
        act = replace(self.act, contract_version=self.contracts.for_stream(stream).version)
        if rows.height:
            self.audit.intend(act, INTENDED, rows.select(*IDENTITY, replay_of="root"))
            self.hit("after_intent")
            appended = self._append(log, stream, chosen)
            self.hit("after_append")
            noted = rows.select(*IDENTITY, "root").join(appended, on="root", how="left")
            self.audit.conclude(act, APPENDED, noted.rename({"root": "replay_of"}))
            self.hit("after_conclusion")
        if arrived.height:
            self.audit.conclude(act, APPENDED, arrived.drop("id").rename({"root": "replay_of"}))

    def _append(self, log: Log, stream: str, chosen: _Repaired) -> pl.DataFrame:
        """Append each event to the shard of its first copy, so that copies meet; where they went, by `root`."""
        shards = log.shards(stream)
        home = [Origin.parse(root).shard % len(shards) for root in chosen.rows["root"]]
        placed: list[tuple[str, int, str, int]] = []
        for number in sorted(set(home)):
            places = [place for place, shard in enumerate(home) if shard == number]
            entries = [
                json_entry(
                    chosen.after[place],
                    int(chosen.known_ms[place]) if chosen.virtual[place] else None,
                    chosen.rows["root"][place],
                )
                for place in places
            ]
            offsets = log.append(stream, entries, shard=number)
            self.result.ends[shards[number].app_id] = str(offsets[-1])
            placed += [
                (chosen.rows["root"][place], number, shards[number].incarnation, offset)
                for place, offset in zip(places, offsets, strict=True)
            ]
        self.result.appended += len(placed)
        schema = {
            "root": pl.String,
            "new_shard": pl.Int32,
            "new_incarnation": pl.String,
            "new_offset": pl.Int64,
        }
        return pl.DataFrame(placed, schema=schema, orient="row")

    def _count(
        self, rows: pl.DataFrame, ready: _Repaired, arrived: pl.DataFrame, refused: Counter[str]
    ) -> None:
        result = self.result
        result.selected += rows.height
        result.passing += ready.rows.height
        result.arrived += arrived.height
        result.kept_time += int(ready.virtual.sum())
        result.refused.update(refused)
        if result.example is None and ready.rows.height:
            result.example = (ready.before[0], ready.after[0])
        self.done.update(rows["id"])

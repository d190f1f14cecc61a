"""What the payments known before a moment leave for features, kept in the lake: so that a day does not need a quarter's history.

A snapshot stands for a *cut*: the payments known before midnight of a day, less the tolerance for early events and an hour, of each
shard up to the offset that had been read. Whatever is not in the cut is read by the build that goes on from it, whenever it came, so
nothing is counted twice or left out. It is used only while the payments of its cut are the very ones that it was made from (days,
counts, offsets), rebuilds since had read all of them, the declaration and the kernel are the same, and no event belongs before what
is folded up (fraud_core.features.starts). Else the build reads the history and says why.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
from deltalake import DeltaTable

from fraud_assets.features.narrow import input_columns
from fraud_assets.features.reading import Reading, needed_columns
from fraud_assets.lake import Lake
from fraud_core.errors import StartRefused
from fraud_core.features import Epochs, FeatureSet
from fraud_core.features.kernel import KERNEL_VERSION
from fraud_core.features.order import up_to
from fraud_core.features.plan import EntityPlan
from fraud_core.features.starts import Start
from fraud_core.log import Shard

SNAPSHOTS: Final = "feature_snapshots"
SNAPSHOT_PARTS: Final = "feature_snapshot_parts"
OPEN_FOR: Final = timedelta(minutes=10)
"""Before the cut, events stay as they are: those that became known later may still belong between them."""
KEPT_FOR: Final = timedelta(days=14)
"""Upkeep removes older snapshots."""
_FORM: Final = 2
"""Of what a snapshot holds; raised when that changes its meaning."""
_COMMIT_BYTES: Final = 64 << 20
_TIME: Final = pl.Datetime("us", "UTC")
_MANIFESTS: Final[dict[str, pl.DataType]] = {
    "snapshot": pl.String(),
    "key": pl.String(),
    "cut_at": _TIME,
    "events": pl.Int64(),
    "bytes": pl.Int64(),
    "manifest": pl.String(),
    "written_at": _TIME,
}
_PARTS: Final[dict[str, pl.DataType]] = {
    "snapshot": pl.String(),
    "entity": pl.String(),
    "part": pl.Int32(),
    "kind": pl.String(),
    "payload": pl.Binary(),
    "written_at": _TIME,
}
_KINDS: Final = ("remembered", "rings", "held")


@dataclass(frozen=True)
class Cut:
    """Which payments a snapshot stands for."""

    before: datetime
    """They became known earlier."""
    ends: Mapping[Shard, int]
    """And came from these offsets or lower ones."""

    @property
    def rows(self) -> pl.Expr:
        return ((pl.col("known_at") < self.before) & up_to(self.ends)).fill_null(value=False)


@dataclass(frozen=True)
class Snapshot:
    """One that may be gone on from, its parts in a folder."""

    cut: Cut
    read: Mapping[Shard, int]
    """Up to where each shard had been read when it was made."""
    parts: Mapping[str, int]
    """Of each entity kind."""
    folder: Path

    def load(self, plan: EntityPlan, part: int) -> tuple[Start, pl.DataFrame | None]:
        """What a part's entities left, and the events to fold after it, marks first; None where it had no entities."""
        found = [self.folder / f"{plan.rule.name}-{part}-{kind}" for kind in _KINDS]
        if not found[0].exists():  # the part had no entities
            return Start.nothing(plan), None
        remembered, rings, held = (pl.read_ipc(path) for path in found)
        return Start(remembered, rings), held


class Keeper:
    """Gathers the parts of a new snapshot in a folder."""

    def __init__(self, cut: Cut, folder: Path) -> None:
        self.cut, self._folder = cut, folder
        folder.mkdir()

    def add(self, entity: str, part: int, start: Start, held: pl.DataFrame) -> None:
        """Take in what a part left."""
        for kind, frame in zip(_KINDS, (start.remembered, start.rings, held), strict=True):
            frame.write_ipc(self._folder / f"{entity}-{part}-{kind}", compression="zstd")

    def commit(
        self,
        lake: Lake,
        features: FeatureSet,
        payments: DeltaTable,
        reading: Reading,
        parts: Mapping[str, int],
    ) -> None:
        """Write it to the lake; it is there once its last row is."""
        name, now = uuid.uuid4().hex, datetime.now(UTC)
        lake.create(
            SNAPSHOT_PARTS, _PARTS, partition_by=["snapshot"], statistics=["entity", "part", "written_at"]
        )
        rows: list[tuple[Any, ...]] = []
        held = total = files = 0
        for path in sorted(self._folder.iterdir()):
            entity, part, kind = path.name.rsplit("-", 2)
            payload = path.read_bytes()
            rows.append((name, entity, int(part), kind, payload, now))
            held += len(payload)
            total += len(payload)
            files += 1
            path.unlink()
            if held >= _COMMIT_BYTES:
                _append(lake, rows)
                rows, held = [], 0
        _append(lake, rows)
        days = _days(lake, payments, self.cut, reading.known_from)
        newest = (
            lake.scan(payments)
            .filter(self.cut.rows)
            .select(pl.col("_epoch").max())
            .collect(engine="streaming")
        )
        manifest = {
            "table": payments.metadata().id,
            "ends": _written(self.cut.ends),
            "read": _written(_read_ends(lake, payments, None)),
            "known_from": reading.known_from.isoformat(),
            "days": {day.isoformat(): list(each) for day, each in days.items()},
            "epochs": {
                str(epoch): _written(cut) for epoch, cut in reading.epochs.items() if not isinstance(cut, int)
            },
            "newest_epoch": newest.item() or 0,
            "parts": dict(parts),
            "files": files,
        }
        events = sum(count for count, _, _ in days.values())
        row = (
            name,
            snapshot_key(lake, features, payments),
            self.cut.before,
            events,
            total,
            json.dumps(manifest),
            now,
        )
        table = lake.create(SNAPSHOTS, _MANIFESTS)
        lake.append(table, pl.DataFrame([row], schema=_MANIFESTS, orient="row"))


def new_cut(lake: Lake, payments: DeltaTable, before: datetime) -> Cut:
    """All payments of the table, as of its handle, that were known before a time."""
    return Cut(before, _read_ends(lake, payments, before))


def usable(  # noqa: PLR0917
    lake: Lake, features: FeatureSet, reading: Reading, before: datetime, payments: DeltaTable, folder: Path
) -> Snapshot | None:
    """The newest snapshot of a cut up to `before`, its parts copied to `folder`; None when there is none.

    Raises StartRefused, saying why, when the newest one does not hold any more.
    """
    if not lake.exists(SNAPSHOTS):
        return None
    found = (
        lake.scan(SNAPSHOTS)
        .filter(
            pl.col("key") == snapshot_key(lake, features, payments),
            pl.col("cut_at") <= before,
            pl.col("cut_at") > reading.known_from,
        )
        .sort("cut_at", "written_at", descending=True)
        .head(1)
        .collect()
    )
    if found.is_empty():
        return None
    row = found.row(0, named=True)
    said = json.loads(row["manifest"])
    cut = Cut(row["cut_at"], _ends(said["ends"]))
    _check_epochs(said, reading.epochs, cut)
    _check_days(lake, payments, cut, said, reading)
    snapshot = Snapshot(cut, _ends(said["read"]), said["parts"], folder)
    _copy(lake, row["snapshot"], folder, said["files"])
    return snapshot


def snapshot_key(lake: Lake, features: FeatureSet, payments: DeltaTable) -> str:
    """Of everything that gives a snapshot its meaning: one of another key is never looked at."""
    contract, schema = features.contract, lake.scan(payments).collect_schema()
    named = [(name, str(schema[name])) for name in needed_columns(features, schema)]
    horizons = [(name, plan.rule.horizon_ms) for name, plan in features.plans.items()]
    # Parts are divided by polars' hash, which another version of it may compute otherwise.
    meaning = [_FORM, pl.__version__, KERNEL_VERSION, features.state_hash, contract.event_id, named, horizons]
    kept = [str(plan.numbers) for plan in features.plans.values()]
    held = [str(source) for name in features.plans for source in input_columns(features, name)]
    text = json.dumps([*meaning, payments.metadata().id, kept, held])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _check_epochs(said: Mapping[str, Any], now: Epochs, cut: Cut) -> None:
    """The order of events rests on the rebuilds: those that were known stand, later ones had read the whole cut."""
    then = said["epochs"]
    for epoch, ends in now.items():
        if isinstance(ends, int):
            raise StartRefused("a rebuild is known by time alone")
        known = then.get(str(epoch))
        if known is not None and _ends(known) == dict(ends):
            continue
        if known is not None or epoch <= max([said["newest_epoch"], *map(int, then)]):
            raise StartRefused(f"epoch {epoch} is recorded otherwise than it was")
        if any(ends.get(shard, -1) < end for shard, end in cut.ends.items()):
            raise StartRefused(f"the rebuild of epoch {epoch} had not read all that the snapshot stands for")
    if any(int(epoch) not in now for epoch in then):
        raise StartRefused("an epoch that was on record is gone")


def _check_days(lake: Lake, payments: DeltaTable, cut: Cut, said: dict[str, Any], reading: Reading) -> None:
    """The payments of the cut must be those that it was made from; days that no history would reach may be gone."""
    then = {date.fromisoformat(day): tuple(each) for day, each in said["days"].items()}
    if then and max(then) >= reading.first:
        raise StartRefused(f"the snapshot stands for payments of {max(then)}")
    from_us = int(reading.known_from.timestamp() * 1_000_000)
    wanted = {day: each[:2] for day, each in then.items() if each[2] >= from_us}
    now = _days(lake, payments, cut, datetime.fromisoformat(said["known_from"]))
    found = {day: each[:2] for day, each in now.items() if each[2] >= from_us}
    if wanted != found:
        day = min(day for day in {*wanted, *found} if wanted.get(day) != found.get(day))
        raise StartRefused(
            f"of {day} it stands for {wanted.get(day, (0, 0))[0]} payments, and {found.get(day, (0, 0))[0]} are in its cut now, "
            "or others"
        )


def _days(
    lake: Lake, payments: DeltaTable, cut: Cut, known_from: datetime
) -> dict[date, tuple[int, int, int]]:
    """Per event date: payments of the cut, their offsets' sum, when the newest became known (µs)."""
    mine = lake.scan(payments).filter((pl.col("known_at") >= known_from) & cut.rows)
    offsets = (pl.col("_offset") % 2**31).sum()  # many of them, in 63 bits
    grouped = mine.group_by("event_date").agg(
        pl.len().cast(pl.Int64), offsets, pl.col("known_at").max().dt.epoch("us").alias("known")
    )
    rows = grouped.collect(engine="streaming").iter_rows()
    return {day: (count, total, known) for day, count, total, known in rows}


def _read_ends(lake: Lake, payments: DeltaTable, before: datetime | None) -> dict[Shard, int]:
    """The highest offset of each shard, of what was known before a time or of all."""
    rows = lake.scan(payments)
    if before is not None:
        rows = rows.filter(pl.col("known_at") < before)
    tops = rows.group_by("_stream", "_shard", "_incarnation").agg(pl.col("_offset").max())
    found = tops.drop_nulls().collect(engine="streaming").iter_rows()
    return {Shard(stream, number, incarnation): end for stream, number, incarnation, end in found}


def _written(ends: Mapping[Shard, int]) -> list[list[Any]]:
    return sorted([shard.stream, shard.number, shard.incarnation, end] for shard, end in ends.items())


def _ends(written: list[list[Any]]) -> dict[Shard, int]:
    return {Shard(stream, number, incarnation): end for stream, number, incarnation, end in written}


def _append(lake: Lake, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        lake.append(lake.table(SNAPSHOT_PARTS), pl.DataFrame(rows, schema=_PARTS, orient="row"))


def _copy(lake: Lake, name: str, folder: Path, files: int) -> None:
    folder.mkdir()
    mine = lake.scan(SNAPSHOT_PARTS).filter(pl.col("snapshot") == name)
    copied = 0
    for batch in mine.select("entity", "part", "kind", "payload").collect_batches(chunk_size=64, lazy=True):
        for entity, part, kind, payload in batch.iter_rows():
            (folder / f"{entity}-{part}-{kind}").write_bytes(payload)
            copied += 1
    if copied < files:
        raise StartRefused(f"{files - copied} of its {files} parts are gone")

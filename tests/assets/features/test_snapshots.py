"""A build that goes on from a snapshot gives the bits of one that reads the history, whatever came meanwhile, or says why it did not."""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraud_assets.features import FEATURES, Room, build_features
from fraud_assets.features.snapshots import SNAPSHOT_PARTS
from fraud_assets.lake import Lake
from fraud_assets.online_state.epochs import record_epoch
from fraud_core.features import FeatureSet
from fraud_core.log import Shard
from tests.assets.features.histories import history_of

EXAMPLES = 12
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # a seed has no smaller example
SHARD = ("_stream", "_shard", "_incarnation")


class Arriving:
    """A random history that comes to its lake day by day."""

    def __init__(self, folder: Path, seed: int, features: FeatureSet, mode: str) -> None:
        self.random, self.features = np.random.default_rng([seed, 7]), features
        rows, labels = history_of(seed, features)
        if mode != "mixed":
            rows = one_stream(rows, features, scored=mode == "scored")
        early = pl.col("at") - timedelta(
            minutes=1
        )  # as much ahead of its time as the contract lets an event be
        rows = rows.with_columns(pl.max_horizontal("known_at", early)).sort("known_at", maintain_order=True)
        self.rows = rows
        self.tops = dict.fromkeys(rows.select(SHARD).unique().iter_rows(), 0)
        dated = timedelta(days=int(self.random.choice([0, 5])))
        self.labels = labels.with_columns(event_date=pl.col("known_at").dt.date() - dated)
        self.lake = Lake(str(folder / "lake"))
        self.lake.create("transactions", rows.schema, partition_by=["event_date"])
        self.lake.create("labels", self.labels.schema)
        self.epochs = self.random.random() < 0.6
        self.epoch = 0
        self.stalled = self.random.random() < 0.3

    @property
    def days(self) -> list[date]:
        return sorted(set(self.rows["known_at"].dt.date()))

    def arrive(self, until: datetime) -> None:
        """Everything known before a time, but what is late for no reason, or because a shard had stalled."""
        due = pl.col("known_at") < until
        late = pl.lit(value=False)
        if self.stalled and self.random.random() < 0.5:
            behind = until - timedelta(hours=float(self.random.choice([3, 30])))
            late = (pl.col("_shard") == 1) & (pl.col("known_at") > behind)
        elif self.random.random() < 0.15:
            late = pl.int_range(pl.len()) % 40 == int(self.random.integers(40))
        offsets = pl.int_range(1, pl.len() + 1).over(SHARD).cast(pl.Int64)
        tops = pl.struct(SHARD).map_elements(lambda row: self.tops[tuple(row.values())], pl.Int64)
        mine = self.rows.filter(due & ~late).with_columns(_offset=offsets + tops)
        self.lake.append(self.lake.table("transactions"), mine)
        self.tops |= {
            row[:3]: row[3] for row in mine.group_by(SHARD).agg(pl.col("_offset").max()).iter_rows()
        }
        self.rows = self.rows.filter(~(due & ~late))
        self.lake.append(self.lake.table("labels"), self.labels.filter(due))
        self.labels = self.labels.filter(~due)

    def rebuild(self) -> None:
        """Take down a rebuild of the online state that has read what came, or nearly so."""
        self.epoch += 1
        short = int(self.random.integers(3)) * int(self.random.random() < 0.3)
        tops = self.lake.scan("transactions").group_by(SHARD).agg(pl.col("_offset").max()).collect()
        ends = {Shard(stream, number, life): end - short for stream, number, life, end in tops.iter_rows()}
        record_epoch(self.lake, self.features, self.epoch, ends)


def one_stream(rows: pl.DataFrame, features: FeatureSet, *, scored: bool) -> pl.DataFrame:
    """Each payment once, all scored (a few logged in another order than they were seen) or none."""
    rows = rows.unique("id", keep="first", maintain_order=True)
    turn = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    overtook = pl.when(turn % 11 == 0).then(5).otherwise(0)  # logged after payments that were seen after it
    seq = turn * 2 - overtook if scored else pl.lit(None, pl.Int64)
    return rows.with_columns(
        _stream=pl.lit("decisions" if scored else "transactions"),
        _epoch=pl.lit(1 if scored else None, pl.Int64),
        **{f"_seq_{each}": seq for each in features.entities},
    )


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def built_alike(lake: Lake, contracts: Any, features: FeatureSet, span: tuple[date, date], room: Room) -> Any:
    """Build a span from a snapshot where that holds, and from the history; the same bits are demanded."""
    built = build_features(lake, contracts, features, *span, room)
    got = lake.scan(FEATURES).filter(pl.col("event_date").is_between(*span)).sort("id").collect()
    wanted_rows = build_features(lake, contracts, features, *span).rows
    wanted = lake.scan(FEATURES).filter(pl.col("event_date").is_between(*span)).sort("id").collect()
    assert built.rows == wanted_rows
    for column in wanted.columns:
        assert got[column].equals(wanted[column], null_equal=True), (column, built)
    return built


@pytest.mark.slow
def test_a_build_from_a_snapshot_gives_the_bits_of_one_from_the_history(
    contracts: Any, features: FeatureSet
) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, phases=PHASES)
    @given(
        seed=st.integers(0, 2**32 - 1),
        mode=st.sampled_from(["plain", "scored", "mixed"]),
        memory=st.sampled_from([4_000, 20_000]),
    )
    def agree(seed: int, mode: str, memory: int) -> None:
        with tempfile.TemporaryDirectory() as name:
            world = Arriving(Path(name), seed, features, mode)
            room = Room(memory, name, snapshots=True)
            days = world.days
            place = int(world.random.integers(1, max(2, len(days) - 3)))
            for day in days[place : place + 4]:
                world.arrive(midnight(day) + timedelta(hours=float(world.random.choice([2, 14, 24]))))
                if world.epochs and world.random.random() < 0.4:
                    world.rebuild()
                built = built_alike(world.lake, contracts, features, (day, day), room)
                seen["went on"] += built.start is not None

    agree()
    assert seen["went on"] > 0


def plain_world(folder: Path, features: FeatureSet, seed: int = 0) -> tuple[Arriving, Room, list[date]]:
    """Payments that nobody scored and nothing delays, and the last three days on which some came in a row."""
    world = Arriving(folder, seed, features, "plain")
    world.epochs = world.stalled = False
    days = world.days
    last = next(
        place for place in range(len(days) - 1, 1, -1) if days[place] - days[place - 2] == timedelta(days=2)
    )
    return world, room_in(folder, features), days[last - 2 : last + 1]


def room_in(folder: Path, features: FeatureSet) -> Room:
    """Too small for a history of three days, and not much smaller: each part has its cost."""
    return Room(20_000 + 400 * len(features.names), str(folder), snapshots=True)


def arrive_on_time(world: Arriving, until: datetime) -> None:
    world.random = np.random.default_rng(1)  # whose first draw is no delay
    world.arrive(until)


def test_a_day_goes_on_from_the_snapshot_that_the_day_before_left(
    contracts: Any, features: FeatureSet, folder: Path
) -> None:
    world, room, days = plain_world(folder, features)
    cuts = []
    for day in days:
        arrive_on_time(world, midnight(day) + timedelta(hours=23))
        built = built_alike(world.lake, contracts, features, (day, day), room)
        cuts.append((built.start, built.kept))
    kept = [midnight(day) - timedelta(hours=1, minutes=1) for day in days]
    assert cuts == [(None, kept[0]), (kept[0], kept[1]), (kept[1], kept[2])]
    again = built_alike(world.lake, contracts, features, (days[-1], days[-1]), room)
    assert (again.start, again.kept) == (kept[2], None)
    assert again.folded < built.folded


@pytest.fixture(scope="module")
def kept(
    contracts: Any, few: FeatureSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, date, datetime]:
    """A lake whose newest day was built and left a snapshot: its folder, the day, the cut. Tests change copies of it."""
    made = tmp_path_factory.mktemp("kept")
    world, room, days = plain_world(made, few)
    arrive_on_time(world, midnight(days[1]) + timedelta(hours=23))
    built = built_alike(world.lake, contracts, few, (days[1], days[1]), room)
    assert built.kept
    return made / "lake", days[1], built.kept


@pytest.mark.parametrize(
    ("what", "why"),
    [("late", "are in its cut now"), ("gone", "are in its cut now"), ("parts", "of its .* parts are gone")],
)
def test_a_snapshot_that_does_not_hold_any_more_is_told_and_not_gone_on_from(
    contracts: Any, few: FeatureSet, kept: tuple[Path, date, datetime], folder: Path, what: str, why: str
) -> None:
    made, day, cut = kept
    lake, room = copied(made, folder), room_in(folder, few)
    before = pl.col("known_at") < midnight(day) - timedelta(hours=2)
    held = lake.scan("transactions").filter(before).sort("known_at").collect()
    if what == "late":
        late = held.tail(1).with_columns(id=pl.lit("late"), _offset=pl.col("_offset") - 1)
        lake.append(lake.table("transactions"), late)
    elif what == "gone":
        lake.table("transactions").delete(f"id = '{held['id'][-1]}'")
    else:
        lake.table(SNAPSHOT_PARTS).delete("kind = 'held'")
    built = built_alike(lake, contracts, few, (day, day), room)
    assert (built.start, built.kept) == (None, cut)
    assert re.search(why, built.refused)
    mended = built_alike(lake, contracts, few, (day, day), room)
    assert (mended.start, mended.refused) == (cut, "")


def test_a_snapshot_of_another_declaration_is_not_looked_at(
    contracts: Any, few: FeatureSet, kept: tuple[Path, date, datetime], folder: Path
) -> None:
    made, day, cut = kept
    lake, room = copied(made, folder), room_in(folder, few)
    assert build_features(lake, contracts, few, day, day, room).start == cut
    other = replace(few, state_hash="another")
    built = built_alike(lake, contracts, other, (day, day), room)
    assert (built.start, built.refused) == (None, "")


def copied(lake: Path, folder: Path) -> Lake:
    shutil.copytree(lake, folder / "lake")
    return Lake(str(folder / "lake"))


def deleted(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.clear()


def altered(rows: pl.DataFrame) -> pl.DataFrame:
    """Others' values for every payment, the opposite for every label."""
    if "is_fraud" in rows.columns:
        return rows.with_columns(~pl.col("is_fraud"))
    names = ("payer", "shop", "site", "amount", "degrees", "kind", "code", "flag", "lat", "lon")
    return rows.with_columns(pl.col(*names).reverse(), at=pl.col("at") + timedelta(seconds=7))


@pytest.mark.parametrize("change", [deleted, altered])
def test_what_becomes_known_later_changes_no_value_that_a_build_from_a_snapshot_gives(
    contracts: Any,
    features: FeatureSet,
    known_all: tuple[Path, date, datetime],
    folder: Path,
    change: Callable[[pl.DataFrame], pl.DataFrame],
) -> None:
    """The build that left the snapshot had read everything as well: nothing of what came after the cut is in it."""
    made, day, cut = known_all
    lake, room = copied(made, folder), room_in(folder, features)
    of_day = lake.scan(FEATURES).filter(pl.col("event_date") == day).sort("known_at", "id").collect()
    now = of_day["known_at"][of_day.height // 2]
    for name in ("transactions", "labels"):
        rows = lake.scan(name).collect()
        later = rows.filter(pl.col("known_at") > now)
        assert later.height > 10
        lake.replace(name, pl.concat([rows.filter(pl.col("known_at") <= now), change(later)]), "true")
    assert build_features(lake, contracts, features, day, day, room).start == cut
    got = lake.scan(FEATURES).filter(pl.col("event_date") == day).sort("known_at", "id").collect()
    known = pl.col("known_at") <= now
    assert not got.filter(~known).equals(of_day.filter(~known), null_equal=True)
    wanted = of_day.filter(known)
    assert min(wanted.height, of_day.height - wanted.height) > 10
    for column in wanted.columns:
        assert got.filter(known)[column].equals(wanted[column], null_equal=True), column


@pytest.fixture(scope="module")
def known_all(
    contracts: Any, features: FeatureSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, date, datetime]:
    """A lake to which everything had come when a day within it was built and left a snapshot: its folder, the day, the cut."""
    made = tmp_path_factory.mktemp("known-all")
    world, room, days = plain_world(made, features, seed=1)  # whose middle day has many payments
    arrive_on_time(world, midnight(days[-1]) + timedelta(days=99))
    built = built_alike(world.lake, contracts, features, (days[1], days[1]), room)
    assert built.kept
    return made / "lake", days[1], built.kept

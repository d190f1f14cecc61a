"""A build that does not fit into memory is streamed, and gives the same bits: over random histories of everything that happens."""

import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraud_assets.features import FEATURES, Room, build_features
from fraud_assets.features.chunks import Chunks
from fraud_assets.features.spill import PART, Spill
from fraud_core.errors import FeatureError
from fraud_core.features import FeatureSet
from tests.assets.features.histories import lake_of

PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # a seed has no smaller example


def test_a_streamed_build_gives_the_same_bits(contracts: Any, features: FeatureSet) -> None:
    @settings(max_examples=4, deadline=None, phases=PHASES)
    @given(
        seed=st.integers(0, 2**32 - 1),
        memory=st.sampled_from([25_000, 60_000, 200_000]),
        share=st.floats(0, 0.9),
    )
    def agree(seed: int, memory: int, share: float) -> None:
        with tempfile.TemporaryDirectory() as name:
            lake, days = lake_of(Path(name), seed, features)
            first = days[int(len(days) * share)]
            span = (first, min(days[-1], first + timedelta(days=5)))
            at_once = build_features(lake, contracts, features, *span)
            wanted = lake.scan(FEATURES).sort("id").collect()
            streamed = build_features(lake, contracts, features, *span, Room(memory, name))
            got = lake.scan(FEATURES).sort("id").collect()
            assert streamed == at_once
            assert wanted.height == sum(at_once.rows.values()) > 0
            for column in wanted.columns:
                assert got[column].equals(wanted[column], null_equal=True), column
            assert [path.name for path in Path(name).iterdir()] == ["lake"]

    agree()


def test_days_without_payments_are_emptied_by_a_streamed_build_too(
    contracts: Any, features: FeatureSet, folder: Path
) -> None:
    lake, days = lake_of(folder, 3, features)
    build_features(lake, contracts, features, days[0], days[-1])
    lake.table("transactions").delete(f"event_date > '{days[1]}'")
    built = build_features(lake, contracts, features, days[0], days[-1] + timedelta(days=9), Room(20_000))
    assert set(lake.scan(FEATURES).collect()["event_date"]) == set(built.rows) == set(days[:2])


def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    contracts: Any, features: FeatureSet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, days = lake_of(folder, 4, features)
    build_features(lake, contracts, features, days[0], days[-1])
    before = lake.table(FEATURES).version()
    written = [0]

    def fill(frame: pl.DataFrame, *_: Any, **__: Any) -> None:
        written[0] += 1
        if written[0] > 40:
            raise OSError(28, "No space left on device")
        original(frame, *_, **__)

    original = pl.DataFrame.write_ipc
    monkeypatch.setattr(pl.DataFrame, "write_ipc", fill)
    with pytest.raises(FeatureError, match="It is full: free some space"):
        build_features(lake, contracts, features, days[0], days[-1], Room(20_000, str(folder)))
    assert written[0] > 40
    assert lake.table(FEATURES).version() == before
    assert [path.name for path in folder.iterdir()] == ["lake"]


def test_a_temporary_folder_that_is_not_there_is_named(
    contracts: Any, features: FeatureSet, folder: Path
) -> None:
    lake, days = lake_of(folder, 5, features)
    with pytest.raises(FeatureError, match=r"nowhere.*SPEARHEAD_FEATURE_TEMP"):
        build_features(lake, contracts, features, days[0], days[0], Room(20_000, str(folder / "nowhere")))


def test_parts_come_back_in_the_order_in_which_they_were_added_and_leave_the_disk(folder: Path) -> None:
    spill = Spill(folder / "rows", buffer=100)
    for start in range(0, 100, 7):
        rows = pl.DataFrame({"n": range(start, min(start + 7, 100))})
        spill.add(rows.with_columns((pl.col("n") % 3).cast(pl.Int32).alias(PART)))
    for part in (2, 0, 1):
        found = spill.take(part)
        assert found is not None
        assert found["n"].to_list() == list(range(part, 100, 3))
    assert spill.take(0) is None
    assert not list((folder / "rows").iterdir())


def test_small_days_share_a_chunk_large_ones_are_divided_and_every_day_is_in_one_block() -> None:
    day = date(2026, 3, 1)
    counts = {day + timedelta(days=n): rows for n, rows in {1: 4, 2: 5, 3: 3, 6: 25, 7: 10, 9: 1}.items()}
    chunks = Chunks.of(day, day + timedelta(days=12), counts, most=10)
    assert chunks.splits == (1, 1, 1, 3, 1, 1)
    assert chunks.first_chunk == (0, 0, 1, 2, 5, 6)
    assert chunks.count == 7
    spans = [((b.first - day).days, (b.last - day).days, list(b.chunks)) for b in chunks.blocks]
    assert spans == [
        (0, 2, [0]), (3, 5, [1]), (6, 6, [2, 3, 4]), (7, 8, [5]), (9, 12, [6]),
    ]  # fmt: skip
    empty = Chunks.of(day, day, {}, most=10)
    assert (empty.count, [(b.first, b.last) for b in empty.blocks]) == (0, [(day, day)])


def test_what_a_killed_build_left_goes_with_the_next_one_and_what_is_in_use_stays(tmp_path: Path) -> None:
    room = Room(20_000, str(tmp_path))
    code = (
        "import sys, time; from fraud_assets.features import Room\n"
        "with Room(20_000, sys.argv[1]).folder() as folder: print(folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        (left / "rows").mkdir()
        with room.folder() as mine, room.folder():
            assert left.is_dir()
            assert mine.is_dir()
        other.kill()
    assert left.is_dir()
    with room.folder() as mine:
        assert not left.exists()
    assert not mine.exists()

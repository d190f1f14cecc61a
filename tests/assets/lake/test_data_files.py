"""The files of a large append are what delta-rs would have written: rows, statistics, refusals, compaction."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fraud_assets.lake import Lake, compact, data_files, open_lake
from fraud_assets.lake.store import object_store as object_store_of
from fraud_core.errors import CommitRefused, LakeError
from tests.assets.lake.faulty_store import faulty_store
from tests.assets.lake.object_store import in_store

ROWS = 24_000
BOUNDS = ("id", "at", "number", "nothing")


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "id": [f"é-{row:06d}" for row in range(ROWS)],
            "at": pl.Series(
                [began + timedelta(seconds=5 * row, milliseconds=row % 3) for row in range(ROWS)],
                dtype=pl.Datetime("us", "UTC"),
            ),
            "number": pl.Series(range(ROWS), dtype=pl.Int32),
            "share": [None if row % 7 == 0 else row / 3 for row in range(ROWS)],
            "yes": [None if row % 3 else row % 2 == 0 for row in range(ROWS)],
            "nothing": pl.Series([None] * ROWS, dtype=pl.String),
        }
    ).with_columns(pl.col("at").dt.date().alias("day"))


def table(lake: Lake, name: str, frame: pl.DataFrame, partition_by: tuple[str, ...] = ("day",)) -> None:
    lake.create(name, frame.schema, partition_by, statistics=BOUNDS)


def actions(lake: Lake, name: str) -> pl.DataFrame:
    found = pl.DataFrame(lake.table(name).get_add_actions(flatten=True))
    return found.drop("path", "modification_time", "size_bytes").sort("min.number")


@pytest.mark.parametrize("partition_by", [("day",), ()])
def test_a_large_append_leaves_rows_and_statistics_as_delta_rs_does(
    tmp_path: Path, frame: pl.DataFrame, partition_by: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(str(tmp_path))
    for name in ("large", "theirs"):
        table(lake, name, frame, partition_by)
    lake.append(lake.table("large"), frame, {"shard": 7})
    monkeypatch.setattr("fraud_assets.lake.lake.can_write", lambda *_: False)
    lake.append(lake.table("theirs"), frame, {"shard": 7})
    for name in ("large", "theirs"):
        assert lake.committed(lake.table(name), "shard") == 7
        assert_frame_equal(lake.scan(name).sort("number").collect().select(frame.columns), frame)
    mine, theirs = actions(lake, "large"), actions(lake, "theirs")
    assert_frame_equal(mine, theirs.select(mine.columns))
    last = lake.scan("large").filter(pl.col("number") >= ROWS - 3, pl.col("id") > "é").collect()
    assert last.height == 3
    assert not list((tmp_path / "large").rglob("part-00000-*")), "delta-rs wrote it"


def test_compaction_joins_the_files_of_both_writers(tmp_path: Path, frame: pl.DataFrame) -> None:
    lake = Lake(str(tmp_path))
    table(lake, "t", frame)
    lake.append(lake.table("t"), frame)
    lake.append(lake.table("t"), frame.head(5))
    assert compact(lake, "t").files_removed == 2
    rows = lake.scan("t").sort("number").collect()
    assert rows.height == ROWS + 5
    assert_frame_equal(rows.unique("number", maintain_order=True).select(frame.columns), frame)


def test_a_large_append_behind_another_of_its_app_is_refused_and_leaves_no_row(
    tmp_path: Path, frame: pl.DataFrame
) -> None:
    lake = Lake(str(tmp_path))
    table(lake, "t", frame)
    before = lake.table("t")
    lake.append(lake.table("t"), frame.head(1), {"shard": 1})
    with pytest.raises(CommitRefused):
        lake.append(before, frame, {"shard": 1})
    assert lake.scan("t").collect().height == 1


def test_a_large_append_that_meets_a_compaction_is_refused_when_it_rests_on_what_was_read(
    tmp_path: Path, frame: pl.DataFrame
) -> None:
    lake = Lake(str(tmp_path))
    table(lake, "t", frame)
    before = lake.table("t")
    compact(lake, "t")
    with pytest.raises(CommitRefused):
        lake.append(before, frame, {"shard": 1})
    lake.append(before, frame)
    assert lake.scan("t").select(pl.len()).collect().item() == ROWS


def test_a_disk_that_fills_up_on_the_second_file_leaves_neither(
    tmp_path: Path, frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(str(tmp_path))
    table(lake, "t", frame)
    write = data_files._encode

    def full(rows: pl.DataFrame, path: Path) -> None:
        write(rows, path)
        if "2026-01-02" in str(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_files, "_encode", full)
    with pytest.raises(LakeError, match="disk is full"):
        lake.append(lake.table("t"), frame)
    assert lake.scan("t").collect().height == 0
    assert not list((tmp_path / "t").rglob("*.parquet"))


@pytest.mark.s3
def test_in_an_object_store_a_large_append_is_what_it_is_on_a_path(
    object_store: str, tmp_path: Path, frame: pl.DataFrame
) -> None:
    stored, on_path = open_lake(in_store(object_store, tmp_path)), Lake(str(tmp_path))
    for lake in (stored, on_path):
        table(lake, "t", frame)
        lake.append(lake.table("t"), frame, {"shard": 7})
        assert lake.committed(lake.table("t"), "shard") == 7
    assert_frame_equal(stored.scan("t").sort("number").collect().select(frame.columns), frame)
    assert_frame_equal(actions(stored, "t"), actions(on_path, "t"))
    behind = stored.table("t")
    stored.append(stored.table("t"), frame.head(1), {"shard": 8})
    with pytest.raises(CommitRefused):
        stored.append(behind, frame, {"shard": 8})
    orphans = set(files_in(stored, "t")) - {
        each.removeprefix(f"{stored.uri_of('t')}/") for each in stored.table("t").file_uris()
    }
    assert len(orphans) == 2, "what nobody committed lies there until vacuum comes"
    compact(stored, "t")
    stored.table("t").vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert not orphans & set(files_in(stored, "t"))
    assert stored.scan("t").select(pl.len()).collect().item() == ROWS + 1


def files_in(lake: Lake, name: str) -> list[str]:
    """Paths of a table's data files, committed or not."""
    store = object_store_of(lake.uri_of(name), lake.options)
    return [
        each["path"]
        for part in store.list()
        for each in part
        if each["path"].endswith(".parquet") and "_delta_log" not in each["path"]
    ]


@pytest.mark.s3
def test_data_files_outlast_a_store_that_errs_or_whose_answers_are_lost(
    object_store: str, tmp_path: Path, frame: pl.DataFrame
) -> None:
    with faulty_store(object_store) as faulty:
        settings = in_store(faulty.endpoint, tmp_path)
        lake = open_lake(settings)
        table(lake, "t", frame)
        faulty.strike(("503", "PUT", "part-", 1), ("lost", "PUT", "part-", 1))
        lake.append(lake.table("t"), frame, {"shard": 1})
        assert faulty.struck == [1, 1]
        assert_frame_equal(lake.scan("t").sort("number").collect().select(frame.columns), frame)
        faulty.strike(("500", "PUT", "part-", 1_000_000))
        hasty = open_lake(settings.changed(s3_timeout_s=1))
        with pytest.raises(LakeError, match="store answers"):
            hasty.append(hasty.table("t"), frame, {"shard": 2})
        faulty.strike()
        assert lake.scan("t").select(pl.len()).collect().item() == ROWS

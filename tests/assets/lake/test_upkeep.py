"""Upkeep loses no row and no version, whoever writes meanwhile, and keeps tables small."""

import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.table import TableAlterer

from fraud_assets.lake import Lake, open_lake
from fraud_assets.lake.files import prune_log, state_of, table_names
from fraud_assets.lake.upkeep import compact, keep_up, vacuum
from fraud_core.errors import CommitRefused, LakeError
from fraud_core.settings import load_settings

SCHEMA = {"a": pl.Int64(), "day": pl.Date()}
NOW = timedelta(0)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(load_settings(_env_file=None, home=tmp_path))


def append(lake: Lake, number: int, app_id: str = "s") -> None:
    days = [date(2026, 9, 1) + timedelta(days=number % 2)]
    lake.append(
        lake.table("t"), pl.DataFrame({"a": [number], "day": days}, schema=SCHEMA), {app_id: number + 1}
    )


def filled(lake: Lake, commits: int) -> None:
    lake.create("t", SCHEMA, ["day"])
    for number in range(commits):
        append(lake, number)


def test_upkeep_leaves_few_files_and_says_what_there_was(lake: Lake) -> None:
    filled(lake, 12)
    done = keep_up(lake, "t", vacuum_after_h=24)
    assert (done.before.files, done.after.files, done.compacted) == (12, 2, 12)
    assert done.before.rows == done.after.rows == 12
    assert done.after.oldest_file is not None
    assert done.after.oldest_file > datetime.now(UTC) - timedelta(minutes=5)
    assert sorted(lake.scan("t").collect()["a"]) == list(range(12))


def test_application_versions_survive_everything_upkeep_does(lake: Lake) -> None:
    filled(lake, 5)
    append(lake, 2**60, "another")
    keep_up(lake, "t", vacuum_after_h=24)
    assert prune_log(lake, "t", keep=0, grace=NOW) > 5
    lake.table("t").vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    table = lake.table("t")
    assert (lake.committed(table, "s"), lake.committed(table, "another")) == (5, 2**60 + 1)
    keep_up(lake, "t", vacuum_after_h=24)
    append(lake, 5)
    assert lake.committed(lake.table("t"), "s") == 6
    assert lake.scan("t").select(pl.len()).collect().item() == 7


def test_vacuum_keeps_what_an_older_version_still_refers_to(lake: Lake) -> None:
    filled(lake, 6)
    reader = lake.table("t")
    keep_up(lake, "t", vacuum_after_h=24)
    assert sorted(lake.scan(reader).collect()["a"]) == list(range(6))
    with pytest.raises(LakeError, match="Nothing was removed"):
        vacuum(lake, "t", 1)


def test_a_file_of_an_interrupted_commit_goes_when_it_is_old_and_not_before(lake: Lake) -> None:
    import os
    import shutil
    import time

    filled(lake, 2)
    (some,) = list(Path(lake.uri_of("t"), "day=2026-09-01").glob("*.parquet"))
    young, old = some.with_name("part-young.parquet"), some.with_name("part-old.parquet")
    shutil.copy(some, young)
    shutil.copy(some, old)
    os.utime(old, (time.time() - 90_000,) * 2)
    assert vacuum(lake, "t", 24, dry_run=True) == 1
    assert vacuum(lake, "t", 24) == 1
    assert young.exists()
    assert not old.exists()
    assert lake.scan("t").select(pl.len()).collect().item() == 2


def test_the_log_is_cut_behind_a_checkpoint_and_stays_readable(lake: Lake) -> None:
    filled(lake, 10)
    compact(lake, "t")
    for number in range(10, 20):
        append(lake, number)
    before = state_of(lake, "t")
    assert prune_log(lake, "t", keep=50, grace=NOW) == 0
    assert prune_log(lake, "t", keep=5, grace=timedelta(hours=1)) == 0
    assert prune_log(lake, "t", keep=5, grace=NOW) == 12
    after = state_of(lake, "t")
    assert (after.version, after.rows) == (before.version, before.rows)
    assert after.log_files == before.log_files - 12
    append(lake, 20)
    assert lake.scan("t").select(pl.len()).collect().item() == 21


def test_a_checkpoint_that_cannot_be_written_is_said_as_an_error_of_the_lake(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(lake, 3)

    def fails(table: DeltaTable) -> None:
        raise DeltaError("the store answered 503")

    monkeypatch.setattr(DeltaTable, "create_checkpoint", fails)
    with pytest.raises(LakeError, match="503"):
        compact(lake, "t", most_rows=1)  # as an ingest run does, whose other shards go on
    with pytest.raises(LakeError, match="503"):
        keep_up(lake, "t", vacuum_after_h=24)


def test_a_property_that_cannot_be_set_is_said_as_an_error_of_the_lake(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(lake, 1)

    def fails(*_: object, **__: object) -> None:
        raise DeltaError("the store answered 503")

    monkeypatch.setattr(TableAlterer, "set_table_properties", fails)
    with pytest.raises(LakeError, match="503"):
        keep_up(lake, "t", vacuum_after_h=48)


def test_every_table_is_found_and_nothing_else(lake: Lake) -> None:
    filled(lake, 1)
    lake.create("training_sets/ts-1", SCHEMA)
    Path(lake.uri, "somebodys folder").mkdir()
    assert table_names(lake) == ["t", "training_sets/ts-1"]


def test_appenders_race_with_compaction_and_vacuum_and_every_row_is_there_once(lake: Lake) -> None:
    lake.create("t", SCHEMA, ["day"])
    failed: list[BaseException] = []

    def appender(name: str) -> None:
        try:
            number = 0
            while number < 40:
                try:
                    append(lake, number, name)
                except CommitRefused:  # a compaction began: plan anew, as ingestion does
                    assert lake.committed(lake.table("t"), name) == number
                    continue
                number += 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=appender, args=(f"s{each}",)) for each in range(3)]
    for thread in threads:
        thread.start()
    compactions = 0
    while any(thread.is_alive() for thread in threads):
        compactions += not compact(lake, "t").refused
        # At once: appending reads no data file, so even this takes nothing from anybody.
        lake.table("t").vacuum(0, dry_run=False, enforce_retention_duration=False)
        prune_log(lake, "t", keep=100, grace=NOW)
    for thread in threads:
        thread.join()
    assert not failed
    assert compactions > 0
    assert sorted(lake.scan("t").collect()["a"]) == sorted(list(range(40)) * 3)
    assert [lake.committed(lake.table("t"), f"s{each}") for each in range(3)] == [40] * 3


def test_a_compaction_that_would_take_long_is_left_to_upkeep_and_the_log_is_cut_all_the_same(
    lake: Lake,
) -> None:
    filled(lake, 6)
    done = compact(lake, "t", most_rows=5)
    assert (done.files_removed, done.files_added) == (0, 0)
    assert len(lake.table("t").file_uris()) == 6
    assert compact(lake, "t", most_rows=6).files_removed == 6
    assert lake.scan("t").collect().height == 6

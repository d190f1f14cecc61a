"""Tables are created once, evolved by new nullable fields only, and take nothing that is not of their exact type."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from fraud_assets.lake import Lake, compact, open_lake, read_transactions, stream_tables
from fraud_assets.lake.upkeep import FENCE
from fraud_core.contracts import load_contracts
from fraud_core.errors import CommitRefused, FeatureError, LakeError, UnsafeStore
from fraud_core.settings import PACKAGED_CONTRACTS, load_settings

SCHEMA = {"a": pl.Int64(), "b": pl.String()}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(load_settings(_env_file=None, home=tmp_path))


def rows(*numbers: int) -> pl.DataFrame:
    return pl.DataFrame({"a": list(numbers), "b": ["x"] * len(numbers)}, schema=SCHEMA)


def test_a_missing_table_is_named_with_what_to_do(lake: Lake) -> None:
    assert not lake.exists("t")
    with pytest.raises(LakeError, match="spearhead ingest"):
        lake.table("t")


def test_racing_creation_makes_one_table(lake: Lake) -> None:
    """A loser of the race may commit the same metadata once more; what the winner appended stays."""
    threads = [threading.Thread(target=lake.create, args=("t", SCHEMA)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lake.append(lake.table("t"), rows(1), {"s": 1})
    lake.create("t", SCHEMA)
    assert lake.scan("t").collect().rows() == [(1, "x")]
    assert lake.committed(lake.table("t"), "s") == 1


def test_versions_are_recorded_even_for_an_empty_append(lake: Lake) -> None:
    table = lake.create("t", SCHEMA)
    assert lake.committed(table, "s") == 0
    lake.append(table, rows(), {"s": 2**61})
    assert lake.committed(lake.table("t"), "s") == 2**61
    assert lake.scan("t").collect().height == 0


def test_an_append_behind_another_one_of_the_same_app_is_refused(lake: Lake) -> None:
    lake.create("t", SCHEMA)
    first, second, other = lake.table("t"), lake.table("t"), lake.table("t")
    lake.append(first, rows(1), {"s": 5})
    with pytest.raises(CommitRefused, match="plan anew"):
        lake.append(second, rows(1), {"s": 5})
    lake.append(other, rows(2), {"another": 5})
    assert sorted(lake.scan("t").collect()["a"]) == [1, 2]


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"a": [1.5], "b": ["x"]}),
        pl.DataFrame({"a": ["1"], "b": ["x"]}),
        pl.DataFrame({"a": [1]}),
        pl.DataFrame({"a": [1], "b": ["x"], "c": [1]}),
    ],
)
def test_rows_of_another_type_are_refused_before_delta_casts_them(lake: Lake, frame: pl.DataFrame) -> None:
    table = lake.create("t", SCHEMA)
    with pytest.raises(LakeError, match="exact types"):
        lake.append(table, frame)
    assert lake.table("t").version() == 0


def test_a_column_that_tells_rows_apart_is_never_added_to_rows_that_lack_it(lake: Lake) -> None:
    lake.append(lake.create("t", SCHEMA), rows(1))
    with pytest.raises(LakeError, match="c, by which its rows are told apart"):
        lake.create("t", {**SCHEMA, "c": pl.String()}, identity=["c"])
    assert lake.table("t").version() == 1


def test_a_new_nullable_column_evolves_the_table_and_a_breaking_change_is_refused(lake: Lake) -> None:
    lake.append(lake.create("t", SCHEMA), rows(1))
    wider = {**SCHEMA, "c": pl.List(pl.Float32)}
    lake.append(
        lake.create("t", wider), rows(2).with_columns(pl.Series("c", [[0.5]], dtype=pl.List(pl.Float32)))
    )
    assert lake.scan("t").sort("a").collect()["c"].to_list() == [None, [0.5]]
    with pytest.raises(LakeError, match="a: Int64 in the table, String in the contract"):
        lake.create("t", {**wider, "a": pl.String()})
    with pytest.raises(LakeError, match="b: String in the table, absent from the contract"):
        lake.create("t", {"a": pl.Int64(), "c": wider["c"]})


def test_replacing_a_partition_leaves_the_others(lake: Lake) -> None:
    lake.append(lake.create("t", SCHEMA, ["b"]), pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    lake.replace("t", rows(7, 8), "b = 'x'")
    assert lake.scan("t").sort("a").collect().rows() == [(2, "y"), (7, "x"), (8, "x")]
    lake.replace("t", rows(), "b = 'x'")
    assert lake.scan("t").collect().rows() == [(2, "y")]


def test_a_partition_is_replaced_by_frames_that_come_one_by_one(lake: Lake) -> None:
    table = lake.create("t", SCHEMA, partition_by=["b"])
    lake.append(table, rows(1, 2, 3))
    lake.replace("t", (rows(n) for n in range(5, 12)), "b = 'x'")
    assert sorted(lake.scan("t").collect()["a"]) == list(range(5, 12))
    lake.replace("t", iter(()), "b = 'x'")
    assert lake.scan("t").collect().is_empty()


def test_frames_that_fail_while_they_are_written_commit_nothing_and_say_why(lake: Lake) -> None:
    lake.append(lake.create("t", SCHEMA), rows(1))

    def failing() -> Iterator[pl.DataFrame]:
        yield from (rows(2), rows(3), rows(4))
        raise FeatureError("the folder is full")

    with pytest.raises(FeatureError, match="the folder is full"):
        lake.replace("t", failing(), "true")
    assert lake.table("t").version() == 1


def test_compaction_keeps_rows_and_versions(lake: Lake) -> None:
    lake.create("t", SCHEMA)
    for number in range(1, 8):
        lake.append(lake.table("t"), rows(number), {"s": number})
    done = compact(lake, "t")
    assert (done.files_removed, done.files_added) == (7, 1)
    assert lake.committed(lake.table("t"), "s") == 7
    assert sorted(lake.scan("t").collect()["a"]) == list(range(1, 8))


class Meeting(Lake):
    """A lake in which something happens right after a table was opened for the n-th time."""

    def meet(self, opening: int, what: Callable[[], object]) -> None:
        self.left, self.what = opening, what

    def table(self, name: str) -> DeltaTable:
        handle = super().table(name)
        self.left -= 1
        if self.left == 0:
            self.what()
        return handle


@pytest.mark.parametrize("opening", [1, 2], ids=["before the fence", "after the fence"])
def test_of_two_compactions_that_meet_one_is_refused_and_no_row_is_doubled(lake: Lake, opening: int) -> None:
    lake.create("t", SCHEMA)
    for number in range(8):
        lake.append(lake.table("t"), rows(number))
    meeting = Meeting(lake.uri)
    meeting.meet(opening, lambda: compact(lake, "t"))
    assert compact(meeting, "t").refused
    assert sorted(lake.scan("t").collect()["a"]) == list(range(8))


def test_a_compaction_gives_way_to_a_fence_raised_after_its_own(lake: Lake) -> None:
    lake.create("t", SCHEMA)

    def another() -> None:
        handle = lake.table("t")
        handle.alter.set_table_properties({FENCE: "another"}, raise_if_not_exists=False)

    class Between(Meeting):
        def table(self, name: str) -> DeltaTable:
            if self.left == 1:  # about to read its fence back
                another()
            return super().table(name)

    meeting = Between(lake.uri)
    meeting.meet(2, lambda: None)
    assert compact(meeting, "t").refused


def test_compactions_in_a_crowd_of_writers_lose_and_double_nothing(lake: Lake) -> None:
    lake.create("t", SCHEMA)

    def write(first: int) -> None:
        for number in range(first, first + 8):
            while True:
                with contextlib.suppress(CommitRefused):
                    lake.append(lake.table("t"), rows(number), {f"s{first}": number})
                    break

    writing = [threading.Thread(target=write, args=(first,)) for first in (10, 20, 30)]
    compacting = [threading.Thread(target=lambda: [compact(lake, "t") for _ in range(4)]) for _ in range(3)]
    for thread in (*writing, *compacting):
        thread.start()
    for thread in (*writing, *compacting):
        thread.join()
    written = [number for first in (10, 20, 30) for number in range(first, first + 8)]
    assert sorted(lake.scan("t").collect()["a"]) == written


def test_an_append_that_meets_a_compaction_is_refused_when_it_rests_on_what_was_read(lake: Lake) -> None:
    lake.create("t", SCHEMA)
    before = lake.table("t")
    compact(lake, "t")
    with pytest.raises(CommitRefused):
        lake.append(before, rows(1), {"s": 1})
    lake.append(before, rows(2))
    assert lake.scan("t").collect()["a"].to_list() == [2]


def test_a_full_disk_is_named_and_what_was_committed_stays(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is made from delta-rs's own; a real full disk needs a volume of its own, which tests have not."""
    from deltalake.exceptions import DeltaError

    lake.append(lake.create("t", SCHEMA), rows(1))

    def full(*_: object, **__: object) -> None:
        raise DeltaError(
            "Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)"
        )

    monkeypatch.setattr("fraud_assets.lake.lake.write_deltalake", full)
    with pytest.raises(LakeError, match="disk is full"):
        lake.append(lake.table("t"), rows(2))
    assert lake.scan("t").collect()["a"].to_list() == [1]


def test_an_unmounted_volume_is_refused(tmp_path: Path) -> None:
    settings = load_settings(
        _env_file=None, home=tmp_path, lake=str(tmp_path / "volume"), lake_marker=".flashblade"
    )
    with pytest.raises(UnsafeStore, match="touch"):
        open_lake(settings)
    assert not (tmp_path / "volume").exists()
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / ".flashblade").touch()
    assert open_lake(settings).uri == os.fspath(tmp_path / "volume")


def test_every_table_of_the_streams_can_be_created_twice(lake: Lake) -> None:
    contracts = load_contracts(PACKAGED_CONTRACTS)
    specs = stream_tables(contracts, ("transactions", "labels", "decisions"))
    for spec in (*specs, *specs):
        lake.create(spec.name, spec.schema, spec.partition_by, statistics=spec.statistics)
    assert {spec.name for spec in specs} == {
        "ledger",
        "transactions",
        "labels",
        "decisions",
        *(f"quarantine_{stream}" for stream in ("transactions", "labels", "decisions")),
    }


def test_the_copy_that_lost_does_not_return_by_being_known_later(lake: Lake) -> None:
    contract = load_contracts(PACKAGED_CONTRACTS).transactions
    (spec,) = (
        spec
        for spec in stream_tables(load_contracts(PACKAGED_CONTRACTS), ["transactions"])
        if spec.name == "transactions"
    )
    table = lake.create(spec.name, spec.schema, spec.partition_by)
    base = dict.fromkeys(spec.schema)
    day = date(2026, 9, 1)

    def row(stream: str, hour: int, event_id: str) -> dict[str, object]:
        known = datetime(2026, 9, 1, hour, tzinfo=UTC)
        return {**base, contract.event_id: event_id, "_stream": stream, "known_at": known, "event_date": day}

    lake.append(
        table,
        pl.DataFrame(
            [row("decisions", 1, "both"), row("transactions", 5, "both"), row("transactions", 5, "sent")],
            schema=spec.schema,
        ),
    )
    later = read_transactions(lake, contract, known_from=datetime(2026, 9, 1, 3, tzinfo=UTC)).collect()
    assert later[contract.event_id].to_list() == ["sent"]
    assert read_transactions(lake, contract, date_from=date(2026, 9, 2)).collect().height == 0
    assert read_transactions(lake, contract, date_to=day).collect().height == 2


@pytest.mark.parametrize("folder", ["my lake", "50%", "Zürich"])
def test_a_path_whose_address_differs_from_it_is_refused_before_anything_is_written(
    tmp_path: Path, folder: str
) -> None:
    settings = load_settings(_env_file=None, home=tmp_path, lake=str(tmp_path / folder))
    with pytest.raises(LakeError, match="Set SPEARHEAD_LAKE"):
        open_lake(settings)
    assert not (tmp_path / folder).exists()

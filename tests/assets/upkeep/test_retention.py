"""What retention removes stays counted, so that the proof of ingestion holds; training sets live as long as their bundles."""

import json
import os
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from fraud_assets.features import FEATURES
from fraud_assets.ingestion import run_ingest
from fraud_assets.ingestion.retired import join_old_ranges, retire_old_days
from fraud_assets.ingestion.verify import verify
from fraud_assets.lake import LEDGER, open_lake
from fraud_assets.lake.files import prune_log, table_names
from fraud_assets.lake.upkeep import compact
from fraud_assets.upkeep import keep_lake, run_storage
from fraud_assets.upkeep import lake as upkeep
from fraud_assets.upkeep.run_storage import purge_runs
from fraud_assets.upkeep.training_sets import remove_unused
from fraud_core.errors import CommitRefused, LakeError, SettingsError
from fraud_core.log import Manifest, json_entry, open_log
from fraud_core.log.manifest import StreamCount
from fraud_core.settings import Settings
from tests.assets.history import produce_past
from tests.assets.orchestration.conftest import NO_CAPTURE

FAR = datetime.now(UTC) + timedelta(days=1000)
QUARANTINE = {"day": "quarantine_date", "event_id": "event_id", "aged_by": "judged_at"}


@pytest.fixture
def judged(settings: Settings) -> Settings:
    """Six days with faults, ingested in many small plans."""
    produce_past(settings, days=6, faults=0.08)
    run_ingest(settings.changed(plan_max_events=150))
    return settings


def manifest_of(settings: Settings, path: Path) -> Path:
    """What the lake accounts for, as its producers would have said."""
    proof = verify(settings)
    whole = Manifest()
    for name, stream in proof.streams.items():
        count = whole.streams.setdefault(name, StreamCount())
        count.events, count.ids, count.id_hash_sum = stream.events, stream.ids, stream.id_hash_sum
    whole.save(path)
    return path


def rows(settings: Settings, table: str) -> int:
    return int(open_lake(settings).scan(table).select(pl.len()).collect().item())


def test_quarantine_leaves_after_its_time_and_the_proof_still_holds(judged: Settings, tmp_path: Path) -> None:
    lake, manifest = open_lake(judged), manifest_of(judged, tmp_path / "manifest.json")
    held = rows(judged, "quarantine_transactions")
    assert held > 0
    assert retire_old_days(lake, "quarantine_transactions", keep_days=90, **QUARANTINE) == 0
    assert retire_old_days(lake, "quarantine_transactions", keep_days=90, now=FAR, **QUARANTINE) == held
    assert rows(judged, "quarantine_transactions") == 0
    proof = verify(judged, manifest)
    assert proof.ok, proof.problems
    assert proof.quarantined + proof.duplicates >= held


def test_transactions_leave_by_event_date_and_the_proof_still_holds(judged: Settings, tmp_path: Path) -> None:
    lake, manifest = open_lake(judged), manifest_of(judged, tmp_path / "manifest.json")
    days = sorted(lake.scan("transactions").select(pl.col("event_date").unique()).collect()["event_date"])
    now = datetime.combine(days[2] + timedelta(days=30), datetime.min.time(), UTC)
    gone = retire_old_days(
        lake, "transactions", day="event_date", event_id="transaction_id", keep_days=30, now=now
    )
    left = lake.scan("transactions").select(pl.col("event_date").min()).collect().item()
    assert gone > 0
    assert left == days[2]
    assert verify(judged, manifest).ok
    # Ingestion goes on behind it, late events of a removed day included.
    produce_past(judged, days=1)
    run_ingest(judged)
    assert verify(judged).ok


@pytest.mark.parametrize("when", ["before_delete", "refused"])
def test_an_interrupted_pass_counts_for_nothing(
    judged: Settings, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    from fraud_assets.ingestion import retired

    lake, held = open_lake(judged), rows(judged, "quarantine_transactions")
    if when == "before_delete":
        monkeypatch.setattr(retired, "CommitProperties", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            retire_old_days(lake, "quarantine_transactions", keep_days=90, now=FAR, **QUARANTINE)
        monkeypatch.undo()
    else:
        counted = retired._counted
        calls: list[int] = []

        def raced(*arguments: object) -> pl.DataFrame | None:
            if not calls:  # another commit comes between counting and removing
                compact(lake, "quarantine_transactions")
            calls.append(1)
            return counted(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(retired, "_counted", raced)
    assert verify(judged).ok
    assert retire_old_days(lake, "quarantine_transactions", keep_days=90, now=FAR, **QUARANTINE) == held
    assert verify(judged).ok


def test_a_pass_whose_commit_was_made_though_the_store_refused_it_counts(
    judged: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, held, delete = open_lake(judged), rows(judged, "quarantine_transactions"), DeltaTable.delete

    def unheard(table: DeltaTable, *arguments: Any, **options: Any) -> Any:
        """As S3 does it: the answer gets lost, the request is sent again, and meets its own commit."""
        done = delete(table, *arguments, **options)
        if table.table_uri.rstrip("/").endswith("quarantine_transactions"):
            raise CommitFailedError("Failed to commit transaction: 0")
        return done

    monkeypatch.setattr(DeltaTable, "delete", unheard)
    assert retire_old_days(lake, "quarantine_transactions", keep_days=90, now=FAR, **QUARANTINE) == held
    proof = verify(judged)
    assert proof.ok, proof.problems


@pytest.mark.slow
def test_joined_ranges_of_the_ledger_prove_the_same(settings: Settings, tmp_path: Path) -> None:
    for _ in range(5):
        produce_past(settings, days=1)
        run_ingest(settings)
    judged = settings
    lake, manifest = open_lake(judged), manifest_of(judged, tmp_path / "manifest.json")
    versions = {
        shard.app_id: lake.committed(lake.table(LEDGER), shard.app_id)
        for log in [open_log(judged)]
        for shard in log.shards("transactions")
    }
    before, after = join_old_ranges(lake, 30, now=FAR)
    assert after < before / 2
    assert verify(judged, manifest).ok
    assert lake.scan(LEDGER).select(pl.col("plans").sum()).collect().item() == before
    assert {app: lake.committed(lake.table(LEDGER), app) for app in versions} == versions
    produce_past(judged, days=1)
    run_ingest(judged)
    assert verify(judged).ok
    # What was there before is not judged anew: the same events are duplicates.
    assert verify(judged).duplicates > 0


def test_ingest_runs_race_with_upkeep_and_nothing_is_lost_or_doubled(settings: Settings) -> None:
    produce_past(settings, days=5, faults=0.05)
    small = settings.changed(plan_max_events=60, compact_every=5)
    ended: list[bool] = []

    def keep_ingesting() -> None:
        for _ in range(20):  # a run that upkeep took something from starts again, as the sensor would have it
            try:
                run_ingest(small)
                ended.append(True)
                return
            except (CommitRefused, LakeError, pl.exceptions.PolarsError, OSError):
                continue

    runs = [threading.Thread(target=keep_ingesting) for _ in range(2)]
    for run in runs:
        run.start()
    lake, passes = open_lake(settings), 0
    while any(run.is_alive() for run in runs):
        for name in table_names(lake):
            compact(lake, name)
            prune_log(lake, name, keep=100, grace=timedelta(seconds=5))
        passes += bool(table_names(lake))
    for run in runs:
        run.join()
    assert ended == [True, True]
    assert passes > 0
    proof = verify(settings)
    assert proof.ok, proof.problems
    assert proof.pending == 0
    assert proof.valid > 0


def test_a_pass_keeps_up_every_table_and_a_dry_one_changes_nothing(judged: Settings) -> None:
    lake = open_lake(judged)
    dry = keep_lake(judged, lake, dry_run=True)
    versions = {name: lake.table(name).version() for name in table_names(lake)}
    assert {done.table for done in dry.tables} == set(versions)
    assert all(done.before == done.after for done in dry.tables)
    assert {name: lake.table(name).version() for name in versions} == versions
    done = {each.table: each for each in keep_lake(judged, lake).tables}
    assert done["ledger"].after.files == 1 < done["ledger"].before.files
    assert verify(judged).ok
    with pytest.raises(LakeError, match="no table nonsense"):
        keep_lake(judged, lake, ["nonsense"])


def test_what_the_store_does_not_let_go_is_a_problem_of_its_table_and_stops_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake(settings)
    row = pl.DataFrame({"id": ["p1"], "event_date": [date(2020, 1, 1)]})
    lake.create(FEATURES, row.schema, ["event_date"])
    lake.append(lake.table(FEATURES), row)

    def fails(*_: object, **__: object) -> None:
        raise DeltaError("the store answered 503")

    with monkeypatch.context() as patch:
        patch.setattr(DeltaTable, "delete", fails)
        refused = keep_lake(settings.changed(retain_transactions_days=1000), lake)
    assert len(refused.problems) == 1
    assert "503" in refused.problems[0]
    assert [done.after.rows for done in refused.tables] == [1]
    done = keep_lake(settings.changed(retain_transactions_days=1000), lake)
    assert (done.problems, done.retired) == ([], {FEATURES: 1})


def test_a_table_whose_old_days_cannot_go_ends_nobody_elses_retention(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake(settings)
    old = pl.DataFrame({"id": ["p1"], "event_date": [date(2020, 1, 1)]})
    for name in ("decisions", FEATURES):
        lake.create(name, old.schema, ["event_date"])
        lake.append(lake.table(name), old)

    def fails(_lake: object, name: str, **_: object) -> int:
        raise LakeError(f"The store refuses {name}.")

    monkeypatch.setattr(upkeep, "retire_old_days", fails)
    done = keep_lake(settings.changed(retain_transactions_days=1000, retain_decisions_days=1000), lake)
    assert done.problems == ["The store refuses decisions."]
    assert done.retired == {FEATURES: 1}
    assert [table.table for table in done.tables] == ["decisions", FEATURES]


def test_transactions_are_kept_for_as_long_as_features_look_back(judged: Settings) -> None:
    with pytest.raises(SettingsError, match="as far as the features look back"):
        keep_lake(judged.changed(retain_transactions_days=2), open_lake(judged))


def test_a_training_set_lives_as_long_as_a_bundle_a_handle_or_a_candidate_in_use_names_it(
    settings: Settings,
) -> None:
    lake, bundles = open_lake(settings), settings.bundles_path
    lake.create("training_sets/being_written", {"a": pl.Int64()})
    for name in ("released", "waiting", "refused", "handled", "unnamed"):
        table = lake.create(f"training_sets/{name}", {"a": pl.Int64()})
        lake.append(table, pl.DataFrame({"a": [1]}))
    (bundles / "m-1").mkdir(parents=True)
    (bundles / "m-1" / "manifest.json").write_text(json.dumps({"training": {"snapshot": "released"}}))
    for name in ("released", "waiting", "refused"):
        (bundles / "candidates" / name).mkdir(parents=True)
        (bundles / "candidates" / name / "model.json").write_text("{}")
    (bundles / "handles").mkdir()
    (bundles / "handles" / "model.json").write_text(json.dumps({"snapshot": "waiting"}))
    (bundles / "handles" / "training_set.json").write_text(json.dumps({"snapshot": "handled"}))
    assert remove_unused(lake, bundles, timedelta(days=30)) == []
    gone = remove_unused(lake, bundles, timedelta(days=30), now=FAR)
    assert gone == [f"training_sets/{name}" for name in ("being_written", "refused", "unnamed")]
    assert table_names(lake) == [f"training_sets/{name}" for name in ("handled", "released", "waiting")]
    assert [path.name for path in (bundles / "candidates").iterdir()] == ["waiting"]


def test_old_runs_go_and_what_the_ui_shows_stays(tmp_path: Path) -> None:
    days = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(check_specs=[dg.AssetCheckSpec("good", asset="plain")])
    def plain() -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="good")])

    @dg.asset(partitions_def=days)
    def parted() -> None: ...

    with dg.instance_for_test(overrides={"compute_logs": NO_CAPTURE}, temp_dir=str(tmp_path)) as instance:
        for _ in range(2):
            assert dg.materialize([plain], instance=instance).success
        for day in ("a", "b", "b"):
            assert dg.materialize([parted], partition_key=day, instance=instance).success
        newest = instance.get_latest_materialization_event(dg.AssetKey("plain"))
        soon = datetime.now(UTC) + timedelta(days=8)
        assert purge_runs(instance, 7, tmp_path).removed == 0
        assert purge_runs(instance, 7, tmp_path, now=soon, dry_run=True).removed == 2
        assert instance.get_runs_count() == 5
        done = purge_runs(instance, 7, tmp_path, now=soon)
        assert (done.runs_before, done.runs_after) == (5, 3)
        assert (done.bytes_before or 0) > (done.bytes_after or 0) > 0
        assert newest is not None
        again = instance.get_latest_materialization_event(dg.AssetKey("plain"))
        assert again is not None
        assert again.run_id == newest.run_id
        assert instance.get_materialized_partitions(dg.AssetKey("parted")) == {"a", "b"}
        assert purge_runs(instance, 7, tmp_path, now=soon).removed == 0


def test_a_folder_that_vanishes_while_it_is_measured_ends_no_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "out").write_bytes(b"1234")
    scan = os.scandir

    def late(path: Any) -> Any:
        if Path(path).name == "a":
            (Path(path) / "out").unlink()
            Path(path).rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", late)
    assert run_storage._size(tmp_path) == 4


def test_reports_leave_after_their_time_but_the_newest_of_a_table(tmp_path: Path) -> None:
    from fraud_assets.upkeep.reports import remove_old_reports

    for at in (date(2026, 1, 1), date(2026, 5, 1)):
        folder = tmp_path / "transactions" / at.isoformat()
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(
            json.dumps(
                {
                    "made_at": f"{at}T00:00:00+00:00",
                    "title": "t",
                    "counts": {},
                    "success": True,
                    **dict.fromkeys(("contract", "version"), "x"),
                    **dict.fromkeys(("admitted", "refused", "duplicates"), 0),
                }
            )
        )
    assert remove_old_reports(tmp_path, 90, now=datetime(2027, 1, 1, tzinfo=UTC)) == 1
    assert [path.name for path in (tmp_path / "transactions").iterdir()] == ["2026-05-01"]


def test_unfinished_ranges_keep_their_verdicts(settings: Settings) -> None:
    log = open_log(settings)
    log.append("transactions", [json_entry(b"no event")])
    log.close()

    class Stop(Exception): ...

    def fail(name: str) -> None:
        if name == "after_quarantine_commit":
            raise Stop

    with pytest.raises(Stop):
        run_ingest(settings, failpoint=fail)
    lake = open_lake(settings)
    assert retire_old_days(lake, "quarantine_transactions", keep_days=90, now=FAR, **QUARANTINE) == 0
    run_ingest(settings)
    assert retire_old_days(lake, "quarantine_transactions", keep_days=90, now=FAR, **QUARANTINE) == 1
    proof = verify(settings)
    assert proof.ok
    assert (proof.valid, proof.quarantined) == (0, 1)

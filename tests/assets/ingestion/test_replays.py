"""An event brought back from quarantine reaches the table at most once, however often it is appended."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import Lake
from fraud_core.log import Entry, Log, Manifest, Origin, block_entry, json_entry
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey
MakeEvent = Callable[..., bytes]


def quarantined(settings: Settings, log: Log, lake: Lake, payload: bytes) -> str:
    """Bring one event into quarantine; its origin."""
    log.append("transactions", [json_entry(payload)])
    run_ingest(settings, ["transactions"])
    [row] = lake.scan("quarantine_transactions").sort("_offset").tail(1).collect().iter_rows(named=True)
    return str(Origin("transactions", row["_incarnation"], row["_shard"], row["_offset"], row["_index"]))


def table(lake: Lake) -> pl.DataFrame:
    return lake.scan("transactions").sort("_offset").select("transaction_id", "_replay_of").collect()


def test_copies_of_one_event_reach_the_table_once_in_one_plan_or_in_several(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, tmp_path: Path
) -> None:
    origin = quarantined(settings, log, lake, event(1, country="??"))
    copy = json_entry(event(1), replay_of=origin)
    other = json_entry(event(1, amount=7), replay_of=origin)
    log.append("transactions", [copy, json_entry(event(2)), copy, other, json_entry(event(3))])
    log.append("transactions", [copy])
    totals = run_ingest(settings, ["transactions"])
    assert (totals.valid, totals.duplicates, totals.violations) == (3, 2, 1)
    assert totals.reasons == {"row.replayed_before": 1}
    assert totals.commits == 4  # a plan holds an event's copies once
    assert table(lake).rows() == [
        ("tx-00000001", origin), ("tx-00000002", None), ("tx-00000003", None),
    ]  # fmt: skip
    held = lake.scan("quarantine_transactions").sort("_offset").collect()
    assert held["_replay_of"].to_list() == [None, origin, origin, origin]
    assert held["kind"].to_list() == ["violation", "duplicate", "violation", "duplicate"]
    manifest = Manifest()
    manifest.add("transactions", ["tx-00000001", "tx-00000002", "tx-00000003"])
    manifest.save(tmp_path / "manifest.json")
    proof = verify(settings, tmp_path / "manifest.json")
    assert (proof.ok, proof.events, proof.replayed) == (True, 7, 4), proof.problems


def test_a_copy_with_another_id_is_recognised_by_its_origin(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    origin = quarantined(settings, log, lake, event(1, country="??"))
    for number in (1, 9):
        log.append("transactions", [json_entry(event(number), replay_of=origin)])
        run_ingest(settings, ["transactions"])
    assert table(lake).rows() == [("tx-00000001", origin)]
    # Bytes and reason of the second are kept.
    [last] = lake.scan("quarantine_transactions").sort("_offset").tail(1).collect().iter_rows(named=True)
    assert (last["reasons"], json.loads(last["payload"])["transaction_id"]) == (
        ["row.replayed_before"],
        "tx-00000009",
    )


def test_a_refused_copy_leaves_the_way_free_for_a_better_one(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    origin = quarantined(settings, log, lake, event(1, country="??"))
    for payload in (event(1, country="!!"), event(1)):
        log.append("transactions", [json_entry(payload, replay_of=origin)])
    totals = run_ingest(settings, ["transactions"])
    assert (totals.valid, totals.violations) == (1, 1)
    assert table(lake).rows() == [("tx-00000001", origin)]


def test_what_names_no_origin_of_its_stream_is_refused_with_its_bytes(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    names = ["", "anything", "labels/0123456789ab/0/5/0"]
    log.append(
        "transactions", [json_entry(event(number), replay_of=name) for number, name in enumerate(names)]
    )
    rows = pl.DataFrame({"transaction_id": ["tx-00000011", "tx-00000012"]})
    two = block_entry(rows)
    log.append(
        "transactions", [Entry(two.kind, two.payload, replay_of="transactions/0123456789ab/0/5/0", events=2)]
    )
    totals = run_ingest(settings, ["transactions"])
    assert (totals.valid, totals.violations) == (0, 5)
    assert totals.reasons["row.replay_of"] == 5
    assert verify(settings).ok


def test_a_second_copy_in_the_table_is_found_by_verify(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    origin = quarantined(settings, log, lake, event(1, country="??"))
    log.append("transactions", [json_entry(event(1)), json_entry(event(2))])
    run_ingest(settings, ["transactions"])
    lake.table("transactions").update(updates={"_replay_of": f"'{origin}'"})
    proof = verify(settings)
    assert (proof.ok, proof.duplicated) == (False, 1)
    assert "more than once" in proof.problems[0]

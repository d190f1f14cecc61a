"""What a rebuild folds, put on shelves in parts: the same states as from all rows at once, in memory that does not grow with them."""

import json
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.benchmarks.apart import apart
from fraud_assets.benchmarks.state import fill_lake, rebuild
from fraud_assets.features.spill import Room
from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, read_history
from fraud_assets.online_state import rebuild_state
from fraud_assets.online_state.build import unseen
from fraud_assets.online_state.epochs import epoch_registry
from fraud_assets.online_state.gathering import gather
from fraud_assets.online_state.history import EVERYTHING, LiveHistory
from fraud_assets.online_state.shelf import Shelf
from fraud_core.features import offline
from fraud_core.features.final_states import Item, entity_states
from fraud_core.features.lists import LIST_BYTES, events_begin
from fraud_core.log import Log, json_entry
from fraud_core.settings import Settings
from tests.assets.history import decide, declarations, now_payments

NEXT = 7


@pytest.mark.valkey
def test_states_of_many_parts_are_those_of_all_rows_at_once(
    settings: Settings, lake: Lake, log: Log, tmp_path: Path
) -> None:
    """With copies of payments, labels, corrections and an epoch before: what the lake gives as one frame is the measure."""
    build = rebuild_state(settings, lake, log, *declarations(settings))
    contracts, features = declarations(settings)
    payments = now_payments(24)
    log.append("transactions", [json_entry(json.dumps(payment).encode()) for payment in payments[:16]])
    decide(settings, payments[8:])
    reports = [
        contracts.labels.example()
        | {name: payment[name] for name in ("transaction_id", "event_ts")}
        | {"is_fraud": number % 3 > 0, "reported_at": payment["event_ts"]}
        for number, payment in enumerate(payments[4:12])
    ]
    log.append("labels", [json_entry(json.dumps(report).encode()) for report in reports])
    run_ingest(settings)
    held = (
        lake.scan("transactions").select("_stream", "_shard", "_incarnation", "_offset", "known_at").collect()
    )
    within = pl.col("_offset") <= held["_offset"].max()
    epochs = {**epoch_registry(lake), NEXT: EVERYTHING}

    events, labels = read_history(lake, contracts, build.read_from, within)
    assert events.height == held.height - 8, "eight payments came both ways"
    whole = offline.read_history(features, events, labels, epochs)
    newest_ms = int(events["known_at"].dt.epoch("ms").to_numpy().max())
    wanted = {
        item.key: item
        for plan in features.plans.values()
        for item in entity_states(whole, plan, "here", NEXT, newest_ms)
    }
    assert any(events_begin(item.value) > LIST_BYTES for item in wanted.values()), (
        "no effect of a label is among them"
    )

    for parts in (1, 5):
        folder = tmp_path / str(parts)
        folder.mkdir()
        base = gather(
            lake, contracts, features, build.read_from, within, parts, Room(1 << 20), folder, unseen
        )
        history = LiveHistory(features, base, lake.scan("transactions").collect_schema(), epochs, NEXT)
        assert history.newest_ms == newest_ms
        assert history.events == events.height
        found = [
            item
            for name in features.plans
            for part in range(parts)
            for item in history.part("here", name, part)
        ]
        assert _by_key(found) == wanted
        again = [
            item for name in features.plans for item in history.touched("here", name, set(history.ids(name)))
        ]
        assert _by_key(again) == wanted
        assert {name: len(history.ids(name)) for name in features.plans} == history.entities


def _by_key(items: list[Item]) -> dict[str, Item]:
    found = {item.key: item for item in items}
    assert len(found) == len(items)
    return found


def test_a_shelf_finds_the_rows_of_a_key_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", "who", 3, 1 << 10)
    rows = pl.DataFrame({"who": [f"p{n % 40}" for n in range(400)] + [None], "n": range(401)})
    for start in range(0, 401, 50):
        shelf.add(rows[start : start + 50])
    shelf.close()
    assert (shelf.rows, shelf.keys) == (400, 40)
    found = shelf.find(pl.Series(["p7", "p31", "nobody", None, "p7"]))
    for who in ("p7", "p31"):
        assert found.filter(pl.col("who") == who).equals(rows.filter(pl.col("who") == who))
    assert found.height == 20
    assert pl.concat([shelf.part(part) for part in range(3)])["n"].sort().to_list() == list(range(400))


def test_nothing_is_found_on_an_empty_shelf(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", "who", 2, 1 << 10)
    shelf.add(pl.DataFrame(schema={"who": pl.String, "n": pl.Int64}))
    shelf.close()
    assert shelf.find(pl.Series(["anybody"])).schema == {"who": pl.String, "n": pl.Int64}
    assert shelf.part(1).is_empty()


@pytest.mark.valkey
@pytest.mark.slow
def test_four_times_the_payments_take_hardly_more_memory(settings: Settings, tmp_path: Path) -> None:
    """64 MiB are allowed; held at once, the second rebuild would take some 400 MiB more than the first."""
    peaks = []
    for rows in (150_000, 600_000):
        made = settings.changed(
            home=tmp_path / str(rows),
            lake="",
            namespace=f"n{rows}",
            feature_memory_mib=64,
            feature_temp=str(tmp_path),
        )
        apart(fill_lake, made, rows, rows // 100, rows // 500, 7)
        used = apart(rebuild, made)
        assert used["events"] == rows
        peaks.append(used["peak_rss_mib"])
    assert peaks[1] < peaks[0] + 150
    assert not list(tmp_path.glob("spearhead-features-*")), "what was put away is gone"

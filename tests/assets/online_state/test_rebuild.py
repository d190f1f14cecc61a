"""The online state made anew from the lake: a cache that can be thrown away, at an epoch that parity survives."""

import json

import polars as pl
import pytest
import redis

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.online_state import StateBuild, epoch_registry, push_label_effects, rebuild_state
from fraud_core.log import SCORER, Log, json_entry, open_log
from fraud_core.settings import Settings
from tests.assets.history import decide, declarations, ingested_past, now_payments
from tests.assets.monitoring.test_parity import compare

pytestmark = pytest.mark.valkey
DAYS = 5


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(ingested_past(settings, DAYS))


def rebuild(settings: Settings, lake: Lake, log: Log) -> StateBuild:
    return rebuild_state(settings, lake, log, *declarations(settings))


def test_the_scorer_goes_on_where_the_rebuild_had_read(settings: Settings, lake: Lake, log: Log) -> None:
    build = rebuild(settings, lake, log)
    [shard] = log.shards("transactions")
    assert build.rebuilt.events == lake.scan("transactions").select(pl.len()).collect().item()
    assert log.readers(shard)[SCORER] == build.ends[shard] == log.end(shard)
    assert epoch_registry(lake) == {build.rebuilt.epoch: build.ends}


def test_a_second_rebuild_gets_a_new_epoch_drops_the_old_one_and_keeps_parity(
    settings: Settings, lake: Lake, log: Log
) -> None:
    first = rebuild(settings, lake, log)
    payments = now_payments(30)
    decide(settings, payments[:15])
    run_ingest(settings)
    second = rebuild(settings, lake, log)
    assert second.rebuilt.epoch == first.rebuilt.epoch + 1
    assert second.rebuilt.events == first.rebuilt.events + 15
    assert second.dropped > 0
    decide(settings, payments[15:])
    run_ingest(settings)
    parity = compare(settings, lake)
    assert (parity.compared, parity.mismatches) == (30, {})


def test_the_loss_of_redis_costs_a_rebuild_and_no_parity(settings: Settings, lake: Lake, log: Log) -> None:
    first = rebuild(settings, lake, log)
    payments = now_payments(30)
    decide(settings, payments[:15])
    run_ingest(settings)
    log.close()
    with redis.Redis.from_url(settings.redis_address) as client:
        client.flushall()
    anew = open_log(settings)
    second = rebuild(settings, lake, anew)
    anew.close()
    assert second.rebuilt.epoch == first.rebuilt.epoch + 1
    assert second.rebuilt.events == first.rebuilt.events + 15
    decide(settings, payments[15:])
    run_ingest(settings)
    parity = compare(settings, lake)
    assert (parity.compared, parity.mismatches) == (30, {})


def test_a_label_pushed_twice_counts_once(settings: Settings, lake: Lake, log: Log) -> None:
    rebuild(settings, lake, log)
    payments = now_payments(10)
    decide(settings, payments)
    contracts, _ = declarations(settings)
    reports = [
        contracts.labels.example()
        | {
            "transaction_id": payment["transaction_id"],
            "event_ts": payment["event_ts"],
            "is_fraud": True,
            "reported_at": payment["event_ts"],
        }
        for payment in payments[:4]
    ]
    log.append("labels", [json_entry(json.dumps(report).encode()) for report in reports])
    run_ingest(settings)
    first = push_label_effects(settings, lake, *declarations(settings))
    assert first.added > 0
    with redis.Redis.from_url(settings.redis_address) as client:  # as if what was pushed had been forgotten
        client.delete(*client.keys(f"{settings.namespace}:*:labels_pushed"))
    again = push_label_effects(settings, lake, *declarations(settings))
    assert again.added == 0


def test_a_payment_that_comes_after_its_label_gets_its_effect(
    settings: Settings, lake: Lake, log: Log
) -> None:
    rebuild(settings, lake, log)
    [payment] = now_payments(1)
    contracts, _ = declarations(settings)
    report = contracts.labels.example() | {
        "transaction_id": payment["transaction_id"],
        "event_ts": "2026-01-01T00:00:00.000Z",
        "is_fraud": True,
        "reported_at": "2026-01-02T00:00:00.000Z",
    }
    log.append("labels", [json_entry(json.dumps(report).encode())])
    run_ingest(settings)
    assert push_label_effects(settings, lake, *declarations(settings)).added == 0
    decide(settings, [payment])
    run_ingest(settings)
    assert push_label_effects(settings, lake, *declarations(settings)).added > 0


def test_without_new_labels_nothing_is_pushed(settings: Settings, lake: Lake, log: Log) -> None:
    rebuild(settings, lake, log)
    applied = push_label_effects(settings, lake, *declarations(settings))
    assert (applied.added, applied.late) == (0, 0)


def test_a_scorer_that_ran_keeps_its_place(settings: Settings, lake: Lake, log: Log) -> None:
    [shard] = log.shards("transactions")
    log.advance_reader(shard, SCORER, 1)
    rebuild(settings, lake, log)
    assert log.readers(shard)[SCORER] == 1

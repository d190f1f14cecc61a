"""Parity of served and recomputed features: bit for bit, and a difference is named."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import redis

from fraud_assets.features import build_features
from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.monitoring.parity import Parity, feature_parity
from fraud_assets.online_state import rebuild_state
from fraud_core.log import Log, open_log
from fraud_core.settings import Settings
from tests.assets.history import decide, declarations, ingested_past, now_payments

pytestmark = pytest.mark.valkey


def compare(settings: Settings, lake: Lake) -> Parity:
    contracts, features = declarations(settings)
    today = datetime.now(UTC).date()
    span = (today - timedelta(days=1), today)
    build_features(lake, contracts, features, *span)
    return feature_parity(lake, contracts, features, *span)


@pytest.fixture
def decided(settings: Settings) -> Settings:
    """A history folded into the online state, and forty payments decided with it."""
    ingested_past(settings, days=5)
    log = open_log(settings)
    rebuild_state(settings, open_lake(settings), log, *declarations(settings))
    log.close()
    decide(settings, now_payments(40))
    run_ingest(settings)
    return settings


def test_served_vectors_equal_the_recomputed_ones(decided: Settings) -> None:
    parity = compare(decided, open_lake(decided))
    assert (parity.decisions, parity.compared, parity.values) == (40, 40, 0)
    assert parity.first_difference is None


def test_a_changed_value_is_found_and_named(decided: Settings) -> None:
    lake = open_lake(decided)
    _, features = declarations(decided)
    rows = lake.scan("decisions").sort("event_ts").collect()
    vectors = rows["vector"].to_list()
    column = next(index for index, value in enumerate(vectors[7]) if value is not None)
    # One unit in the last place of a float32, which no tolerance would show.
    vectors[7][column] = float(pl.Series([vectors[7][column]], dtype=pl.Float32)[0]) * (1 + 2**-23) + 1e-38
    changed = rows.with_columns(vector=pl.Series(vectors, dtype=rows.schema["vector"]))
    lake.replace("decisions", changed, "true")
    parity = compare(decided, lake)
    assert parity.mismatches == {features.names[column]: 1}
    assert parity.first_difference is not None
    assert parity.first_difference["event_id"] == rows["transaction_id"][7]
    assert parity.first_difference["feature"] == features.names[column]
    assert parity.first_difference["served"] != parity.first_difference["recomputed"]


def test_decisions_of_another_feature_set_are_not_compared(decided: Settings) -> None:
    lake = open_lake(decided)
    rows = lake.scan("decisions").collect()
    lake.replace("decisions", rows.with_columns(feature_set_hash=pl.lit("another")), "true")
    found = compare(decided, lake)
    assert (found.decisions, found.compared, found.values) == (0, 0, 0)
    assert found.other_feature_sets > 0


def test_a_payment_that_is_decided_again_counts_again_and_each_vector_is_compared_with_its_own(
    settings: Settings, log: Log
) -> None:
    """Long after: neither the state nor ingestion knows its id any more."""
    settings = settings.changed(uniqueness_window=0)
    lake = open_lake(settings)
    run_ingest(settings)
    rebuild_state(settings, lake, log, *declarations(settings))
    payments = now_payments(6)
    decide(settings, payments)
    run_ingest(settings)
    with redis.Redis.from_url(settings.redis_address) as client:
        client.delete(*client.scan_iter("*:a:*"))  # what the state keeps for `answer_ttl`
    again = decide(settings, payments[:2])
    decide(settings, now_payments(2))
    run_ingest(settings)
    parity = compare(settings, lake)
    assert (parity.decisions, parity.compared, parity.values) == (10, 10, 0)
    rows = lake.scan("features").filter(pl.col("transaction_id") == payments[0]["transaction_id"]).collect()
    _, features = declarations(settings)
    values = rows.sort("known_at").select(features.names).to_numpy()
    assert values.shape[0] == 2
    assert not np.array_equal(values[0], values[1], equal_nan=True)
    assert np.array_equal(values[1], again[0], equal_nan=True)


def test_nothing_is_proved_while_decisions_wait_for_their_features() -> None:
    assert Parity(5, 5, {}, None).proved
    assert not Parity(5, 0, {}, None).proved
    assert not Parity(5, 5, {"amount": 1}, {}).proved

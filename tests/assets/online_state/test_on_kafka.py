"""The online state rebuilt where the log is a real Kafka: what the lake lacks is followed there, and nothing is counted twice."""

from pathlib import Path

import pytest

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import open_lake
from fraud_assets.online_state import rebuild_state
from fraud_assets.online_state.verify import verify_state
from fraud_core.log import SCORER, open_log
from fraud_core.log.kafka_broker import KafkaBroker
from tests import kafka
from tests.assets.history import decide, declarations, ingested_past, now_payments
from tests.assets.monitoring.test_parity import compare

pytestmark = [pytest.mark.kafka, pytest.mark.valkey, pytest.mark.slow]


def test_a_rebuild_folds_the_lake_and_follows_kafka(
    kafka_session: KafkaBroker, valkey_url: str, tmp_path: Path
) -> None:
    settings = kafka.kafka_settings(
        kafka_session.servers,
        tmp_path / "home",
        partitions=2,
        redis_url=valkey_url,
        deadline_ms=500,
        state_fence_s=20,
    )
    ingested_past(settings, days=2)
    lake, log = open_lake(settings), open_log(settings)
    try:
        first = rebuild_state(settings, lake, log, *declarations(settings))
        shards = log.shards("transactions")
        assert len(shards) == 2
        assert {shard: log.readers(shard)[SCORER] for shard in shards} == {
            shard: first.ends[shard] for shard in shards
        }
        payments = now_payments(45)
        decide(settings, payments[:15])
        run_ingest(settings)
        decide(settings, payments[15:30])  # in Kafka, and not in the lake yet
        second = rebuild_state(settings, lake, log, *declarations(settings))
        assert second.rebuilt.epoch == first.rebuilt.epoch + 1
        assert second.followed == 15
        assert second.rebuilt.events == first.rebuilt.events + 30
        decide(settings, payments[30:])
        assert verify_state(settings, lake, log, *declarations(settings), sample=0).ok
        run_ingest(settings)
        parity = compare(settings, lake)
        assert (parity.compared, parity.mismatches) == (45, {})
    finally:
        log.close()

"""The sensor that brings a lost online state back: it asks for one rebuild, says why, and is then content."""

from collections.abc import Callable

import dagster as dg
import pytest
import redis

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import open_lake
from fraud_assets.online_state.condition import lost_state
from fraud_assets.online_state.epochs import past_rebuilds
from fraud_core.settings import Settings
from tests.assets.history import decide, declarations, ingested_past, now_payments
from tests.assets.monitoring.test_parity import compare

pytestmark = [pytest.mark.valkey, pytest.mark.slow]


def test_the_sensor_rebuilds_a_state_that_redis_lost(
    graph: dg.Definitions,
    instance: dg.DagsterInstance,
    settings: Settings,
    in_settings: Callable[[Settings], None],
) -> None:
    ingested_past(settings, days=2)
    in_settings(settings)
    sensor = graph.resolve_sensor_def("rebuild_lost_state")

    def tick() -> list[dg.RunRequest]:
        with dg.build_sensor_context(instance=instance, definitions=graph) as context:
            return list(sensor.evaluate_tick(context).run_requests or [])

    def run(tags: dict[str, str]) -> bool:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = graph.resolve_job_def("state_rebuild")
        return job.execute_in_process(
            run_config=quiet, instance=instance, tags=tags, raise_on_error=False
        ).success

    assert tick() == []  # never built
    assert run({})
    assert tick() == []
    payments = now_payments(20)
    decide(settings, payments[:10])
    run_ingest(settings)

    with redis.Redis.from_url(settings.redis_address) as client:
        client.flushall()
        client.function_flush()
    [asked] = tick()
    assert "wiped" in asked.tags["spearhead/lost"]
    assert run(dict(asked.tags))
    lake = open_lake(settings)
    assert lost_state(settings, lake, declarations(settings)[1]) is None
    assert past_rebuilds(lake, 1)[0]["reason"] == asked.tags["spearhead/lost"]
    assert tick() == []
    decide(settings, payments[10:])
    run_ingest(settings)
    parity = compare(settings, lake)
    assert (parity.compared, parity.mismatches) == (20, {})

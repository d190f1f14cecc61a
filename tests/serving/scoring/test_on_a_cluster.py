"""Scoring on a Redis Cluster, by the same address as the log: claims, state and decisions each on the node that keeps them."""

from pathlib import Path
from typing import Any

import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_core.contracts import load_contracts
from fraud_core.features import OnlineState, load_features
from fraud_core.features.connect import open_state_client
from fraud_core.log import open_log
from fraud_core.log.kafka_broker import KafkaBroker
from fraud_core.release import PathAliasStore, bootstrap
from fraud_core.settings import Settings, load_settings
from fraud_serving.runtime import Runtime
from tests import kafka
from tests.serving.samples import event, make_bundle
from tests.serving.scoring.test_scorer import score

pytestmark = pytest.mark.valkey
PAYMENTS = 12


def test_payments_are_scored_once_and_logged_across_the_shards_of_a_cluster(
    tmp_path: Path, cluster_session: str, with_runtime: Any
) -> None:
    settings = load_settings(
        _env_file=None,
        home=tmp_path,
        redis_url=cluster_session,
        namespace=f"n{tmp_path.name}",
        shards=4,
        backend="onnxruntime",
        deadline_ms=20_000,
    )
    score_twice(settings, with_runtime)
    log = open_log(settings)
    held = [log.depth(shard) for shard in log.shards("decisions")]
    log.close()
    assert sum(held) == PAYMENTS
    assert sum(1 for each in held if each) > 1


@pytest.mark.kafka
def test_payments_are_scored_once_with_the_state_in_a_cluster_and_the_log_in_kafka(
    tmp_path: Path, cluster_session: str, kafka_session: KafkaBroker, with_runtime: Any
) -> None:
    settings = kafka.kafka_settings(
        kafka_session.servers,
        tmp_path,
        partitions=2,
        redis_url=cluster_session,
        backend="onnxruntime",
        deadline_ms=20_000,
    )
    score_twice(settings, with_runtime)
    run_ingest(settings, ["decisions"])
    proof = verify(settings)
    assert proof.ok, proof.problems
    assert proof.streams["decisions"].valid == PAYMENTS


def score_twice(settings: Settings, with_runtime: Any) -> None:
    """Score payments of several accounts, and send each again."""
    bundle = make_bundle(settings.bundles_path)
    store = PathAliasStore(settings.bundles_path)
    bootstrap(store, settings.bundles_path, bundle.version, actor="test", reason="first")
    contracts = load_contracts(settings.contracts)
    with open_state_client(settings) as client:
        OnlineState(client, load_features(contracts.features_path, contracts), settings.namespace).begin()
    payments = [event(account_id=f"acc_{number:06d}") for number in range(PAYMENTS)]

    async def body(runtime: Runtime) -> None:
        assert runtime.readiness().ready, runtime.readiness().missing
        for answer in await score(runtime, *payments):
            assert answer.logged
        assert all(answer.repeated for answer in await score(runtime, *payments))

    with_runtime(settings, body)

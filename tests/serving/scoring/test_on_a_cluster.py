"""Scoring on a Redis Cluster, by the same address as the log: claims, state and decisions each on the node that keeps them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from fraud_assets.ingestion import run_ingest, verify
from fraud_core.contracts import load_contracts
from fraud_core.features import OnlineState, load_features
from fraud_core.features.connect import open_state_client
from fraud_core.features.server import read_facts
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


def on_cluster(home: Path, url: str, **more: Any) -> Settings:
    """Settings of a namespace of its own on the cluster."""
    return load_settings(
        _env_file=None,
        home=home,
        redis_url=url,
        namespace=f"n{home.name}",
        backend="onnxruntime",
        deadline_ms=20_000,
        **more,
    )


def test_payments_are_scored_once_and_logged_across_the_shards_of_a_cluster(
    tmp_path: Path, cluster_session: str, with_runtime: Any
) -> None:
    settings = on_cluster(tmp_path, cluster_session, shards=4)
    score_twice(settings, with_runtime)
    log = open_log(settings)
    held = [log.depth(shard) for shard in log.shards("decisions")]
    log.close()
    assert sum(held) == PAYMENTS
    assert sum(1 for each in held if each) > 1


def test_keys_that_any_primary_evicted_end_the_state(
    tmp_path: Path, cluster_session: str, with_runtime: Any
) -> None:
    settings = on_cluster(tmp_path, cluster_session)
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    with open_state_client(settings) as client:
        asked_by_itself = client.get_default_node()
        other = next(node for node in client.get_primaries() if node != asked_by_itself)
        begun = OnlineState(client, features, settings.namespace)
        begun.begin()
        assert len(read_facts(client).evictions) == 3

    async def body(runtime: Runtime) -> None:
        [before, *_] = await score(
            runtime, *(event(account_id=f"acc_{number:06d}") for number in range(PAYMENTS))
        )
        with redis.Redis(other.host, other.port) as node:
            evict_something(node)
            assert read_facts(node).evicted
        # Before the background has looked again: it is not scored with an empty past.
        [after] = await score(runtime, event(account_id="acc_999999"))
        reasons = [json.loads(outcome.content)["fallback_reason"] for outcome in (before, after)]
        assert reasons == ["no_model", "state_lost"]
        assert "keys were evicted" in runtime.readiness().missing["state"]

    try:
        with_runtime(settings, body)
    finally:
        with redis.Redis(other.host, other.port) as node:
            node.config_resetstat()  # for what comes after on this server, nothing was evicted


def evict_something(node: redis.Redis) -> None:
    """Let a server evict what has a time to live, as one that is full would."""
    node.config_set("maxmemory-policy", "volatile-lru")
    node.config_set("maxmemory", 1)
    try:
        deadline = time.monotonic() + 60
        while not node.info("stats")["evicted_keys"]:
            assert time.monotonic() < deadline, "the server evicted nothing"
    finally:
        node.config_set("maxmemory", 0)
        node.config_set("maxmemory-policy", "noeviction")


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

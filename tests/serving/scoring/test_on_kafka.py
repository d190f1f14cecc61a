"""Scoring with the log on a real Kafka: claims and state in Redis, decisions appended elsewhere."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_core.errors import LogUnavailable
from fraud_core.log import SCORER, json_entry, open_log
from fraud_core.log.kafka_broker import KafkaBroker
from fraud_core.release import PathAliasStore, bootstrap
from fraud_core.settings import Settings
from fraud_serving.runtime import Runtime
from fraud_serving.scoring.staging import Staging
from fraud_serving.scoring.submission import Answered, Busy
from fraud_serving.stream import StreamScorer
from tests import kafka
from tests.serving.samples import begin_state, event, make_bundle, payload
from tests.serving.scoring.test_scorer import score

pytestmark = [pytest.mark.kafka, pytest.mark.valkey]


def staging_of(runtime: Runtime) -> Staging:
    staging = runtime.store._staging
    assert staging is not None
    return staging


@pytest.fixture
def on_kafka(kafka_session: KafkaBroker, valkey_url: str, tmp_path: Path) -> Settings:
    """Settings with a champion, online state in Redis and the log in Kafka, two partitions a stream."""
    made = kafka.kafka_settings(
        kafka_session.servers,
        tmp_path / "home",
        partitions=2,
        redis_url=valkey_url,
        backend="onnxruntime",
        deadline_ms=20_000,
    )
    bundle = make_bundle(made.bundles_path)
    bootstrap(
        PathAliasStore(made.bundles_path), made.bundles_path, bundle.version, actor="test", reason="first"
    )
    begin_state(made)
    return made


def decisions(settings: Settings) -> list[dict[str, Any]]:
    log = open_log(settings)
    found = [
        json.loads(record)
        for shard in log.shards("decisions")
        for record in log.read(shard, 0, log.end(shard), 1000).payloads
    ]
    log.close()
    return found


def test_a_payment_is_answered_and_logged_once_however_often_it_is_sent(
    on_kafka: Settings, with_runtime: Any
) -> None:
    items = [event() for _ in range(3)]

    async def body(runtime: Runtime) -> None:
        first = await score(runtime, *items)
        again = await score(runtime, *items)
        assert [each.logged for each in first] == [True] * 3
        assert [each.content for each in again] == [each.content for each in first]
        assert all(each.repeated for each in again)
        assert runtime.readiness().ready

    with_runtime(on_kafka, body)
    assert sorted(each["transaction_id"] for each in decisions(on_kafka)) == sorted(
        each["transaction_id"] for each in items
    )


def test_an_append_of_which_nobody_knows_whether_it_got_through_is_repeated_and_counts_once(
    on_kafka: Settings, with_runtime: Any
) -> None:
    item = event()

    async def body(runtime: Runtime) -> None:
        assert runtime.store._claims is not None
        runtime.store._claims._lease_ms = 500
        append = staging_of(runtime)._append

        async def unconfirmed(records: Any) -> None:
            await append(records)
            raise LogUnavailable("the confirmation was lost")

        staging_of(runtime)._append = unconfirmed
        [first] = await score(runtime, item)
        assert isinstance(first, Answered)
        assert (first.logged, json.loads(first.content)["fallback_reason"]) == (False, "log_unreachable")
        staging_of(runtime)._append = append
        deadline = time.monotonic() + 60
        while isinstance(settled := (await score(runtime, item))[0], Busy):  # until the lease has run out
            assert time.monotonic() < deadline, settled
        assert settled.repeated
        assert json.loads(settled.content)["logged"] is True
        assert json.loads(settled.content)["score"] == json.loads(first.content)["score"]

    with_runtime(on_kafka, body)
    one, two = decisions(on_kafka)
    assert one == two
    totals = run_ingest(on_kafka, ["decisions"])
    assert (totals.valid, totals.duplicates, totals.violations) == (1, 1, 0)
    assert verify(on_kafka).ok


def test_without_its_log_a_payment_is_answered_and_says_that_it_was_not_logged(
    on_kafka: Settings, with_runtime: Any
) -> None:
    async def body(runtime: Runtime) -> None:
        async def dead(records: Any) -> None:
            raise LogUnavailable("no broker")

        async def nobody_asks() -> None:
            pass

        ask, runtime._ask_log = runtime._ask_log, nobody_asks  # type: ignore[method-assign]  # stands in for one failure
        append, staging_of(runtime)._append = staging_of(runtime)._append, dead
        for _ in range(4):
            [outcome] = await score(runtime, event())
            assert json.loads(outcome.content)["logged"] is False
            assert json.loads(outcome.content)["route"] == "champion"
        assert "Kafka" in runtime.readiness().missing["log"]
        # Whoever is not ready gets no payments, so none of them can find out that the log is back.
        staging_of(runtime)._append = append
        deadline = time.monotonic() + 60
        while not runtime.readiness().ready:
            assert time.monotonic() < deadline, runtime.readiness().missing
            await ask()  # a busy broker may not answer within the second that it is given
        [outcome] = await score(runtime, event())
        assert json.loads(outcome.content)["logged"] is True

    with_runtime(on_kafka, body)


def test_payments_on_the_stream_are_scored_and_the_scorers_place_is_kept(
    on_kafka: Settings, with_runtime: Any
) -> None:
    log = open_log(on_kafka)
    items = [event() for _ in range(5)]
    log.append(
        "transactions", [json_entry(payload(item)) for item in items], [item["account_id"] for item in items]
    )

    async def body(runtime: Runtime) -> None:
        scorer = StreamScorer(runtime, log)
        scorer._stop = asyncio.Event()
        deadline = time.monotonic() + 60
        while scorer.scored < len(items):
            await scorer.step()
            assert time.monotonic() < deadline, f"{scorer.scored} of {len(items)} were scored"

    with_runtime(on_kafka, body)
    shards = log.shards("transactions")
    assert sum(log.readers(shard)[SCORER] for shard in shards) == len(items)
    assert len(decisions(on_kafka)) == len(items)
    log.close()

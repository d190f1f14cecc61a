"""The scoring pipeline on a real Valkey with a real model in process."""

import json
import time
from typing import Any

import pytest
import redis

from fraud_core.contracts import check_event, load_contracts
from fraud_core.features.calls import unreachable
from fraud_core.features.handover import gate_key
from fraud_core.log import open_log
from fraud_core.release import PathAliasStore
from fraud_core.settings import Settings
from fraud_serving.runtime import Runtime
from fraud_serving.scoring import watch
from fraud_serving.scoring.submission import Answered, Busy, Conflict, Submission, submit
from tests.serving.samples import begin_state, default_features, event

pytestmark = pytest.mark.valkey


def submission(runtime: Runtime, item: dict[str, Any]) -> Submission:
    return submit(runtime.contracts.transactions, item, "0" * 32, time.monotonic())


async def score(runtime: Runtime, *items: dict[str, Any]) -> list[Any]:
    return await runtime.scorer.score([submission(runtime, item) for item in items])


def decisions(settings: Settings) -> list[dict[str, Any]]:
    log = open_log(settings)
    [shard] = log.shards("decisions")
    found = log.read(shard, 0, log.end(shard), 1000)
    log.close()
    return [json.loads(payload) for payload in found.payloads]


def test_a_payment_is_scored_explained_and_logged_with_its_state(
    serving: Settings, with_runtime: Any
) -> None:
    item = event(amount_minor=190_000, amount_base_minor=190_000)

    async def body(runtime: Runtime) -> None:
        [outcome] = await score(runtime, item)
        answer = json.loads(outcome.content)
        assert (answer["route"], answer["backend"], answer["decision"]) == (
            "champion",
            "onnxruntime",
            "decline",
        )
        strongest = answer["reasons"][0]
        assert (strongest["code"], strongest["text"]) == ("amount", "The amount is unusual.")
        assert strongest["value"] == 190_000
        assert strongest["contribution"] > 0
        for reason in answer["reasons"]:
            value = float("nan") if reason["value"] is None else reason["value"]
            assert reason["text"] == default_features().feature(reason["code"]).wording.of(value)
        assert (answer["logged"], answer["degraded"], answer["fallback_reason"]) == (True, False, None)

    with_runtime(serving, body)
    [record] = decisions(serving)
    assert record["event"] == item
    assert record["seqs"] == {"account": 1, "card": 1, "merchant": 1, "device": 1}
    assert len(record["vector"]) == len(default_features().names)
    contract = load_contracts(serving.contracts).decisions
    assert check_event(contract, record, time.time_ns() // 1_000_000) == []


def test_the_same_body_gets_the_first_answer_and_another_body_a_conflict(
    serving: Settings, with_runtime: Any
) -> None:
    item = event()

    async def body(runtime: Runtime) -> None:
        [first] = await score(runtime, item)
        respelled = {name: item[name] for name in reversed(item)} | {"ip_hash": item["ip_hash"]}
        [again] = await score(runtime, respelled)
        assert again == Answered(first.content, repeated=True)
        [other] = await score(runtime, item | {"merchant_category": "5999"})
        assert other == Conflict()

    with_runtime(serving, body)
    assert len(decisions(serving)) == 1


def test_a_refused_body_touches_no_entity(serving: Settings, with_runtime: Any) -> None:
    item = event()
    evil = item | {"merchant_id": "mer_other_9999", "device_id": "dev_other_0001"}
    third = item | {"merchant_id": "mer_other_0003"}

    async def body(runtime: Runtime) -> None:
        first, refused, also_refused = await score(runtime, item, evil, third)
        assert isinstance(first, Answered)
        assert [refused, also_refused] == [Conflict(), Conflict()]
        assert await score(runtime, evil) == [Conflict()]
        assert not [key async for key in runtime.state.client.scan_iter("*_other_*")]
        await score(runtime, event(merchant_id="mer_other_9999"))

    with_runtime(serving, body)
    assert [record["seqs"]["merchant"] for record in decisions(serving)] == [1, 1]


def test_in_a_batch_a_payment_that_the_state_refuses_leaves_the_others_their_features(
    serving: Settings, with_runtime: Any
) -> None:
    refused, *_ = items = [event(), event(), event()]

    async def body(runtime: Runtime) -> None:
        elsewhere = refused | {"merchant_id": "mer_other_0001", "device_id": None}
        await runtime.state.apply(elsewhere, refused["transaction_id"])
        answers = [json.loads(outcome.content) for outcome in await score(runtime, *items)]
        assert [answer["fallback_reason"] for answer in answers] == ["features_unavailable", None, None]
        assert [answer["route"] == "champion" for answer in answers] == [False, True, True]
        assert all(answer["logged"] for answer in answers)

    with_runtime(serving, body)
    assert [bool(record["vector"]) for record in decisions(serving)] == [False, True, True]


@pytest.mark.parametrize("of_all", [True, False], ids=["one server", "one server of a cluster"])
def test_an_update_whose_answer_was_lost_is_asked_for_again_and_counted_once(
    serving: Settings, with_runtime: Any, *, of_all: bool
) -> None:
    async def body(runtime: Runtime) -> None:
        apply_each, lost = runtime.state.apply_each, []

        async def losing_the_first(events: Any) -> Any:
            answers = await apply_each(events)
            if lost:
                return answers
            lost.append(answers)
            error = unreachable(redis.TimeoutError("the answer is lost"))
            if of_all:
                raise error
            return [error, *answers[1:]]

        runtime.state.apply_each = losing_the_first  # type: ignore[method-assign]  # stands in for one failure
        outcomes = await score(runtime, event(), event())
        assert lost
        assert [json.loads(outcome.content)["fallback_reason"] for outcome in outcomes] == [None, None]

    with_runtime(serving, body)
    assert all(record["seqs"]["account"] == place for place, record in enumerate(decisions(serving), 1))


def test_an_id_twice_in_one_call_is_scored_once(serving: Settings, with_runtime: Any) -> None:
    item, another = event(), event()

    async def body(runtime: Runtime) -> None:
        first, middle, last = await score(runtime, item, another, item)
        assert last == Answered(first.content, repeated=True)
        assert not middle.repeated

    with_runtime(serving, body)
    assert [record["seqs"]["account"] for record in decisions(serving)] == [1, 2]


def test_after_a_crash_between_state_and_log_a_retry_goes_on_with_the_saved_vector(
    serving: Settings, with_runtime: Any
) -> None:
    item = event()

    async def body(runtime: Runtime) -> None:
        mine = submission(runtime, item)
        await runtime.store.claim_and_apply([mine], time.monotonic() + 20)  # … and this worker dies
        [held], _ = await runtime.store.claim_and_apply([mine], time.monotonic() + 20)
        assert held.lease_ms > 0
        client = redis.Redis.from_url(serving.redis_address)
        [key] = list(client.scan_iter("*:claim:*"))
        value = client.get(key)
        client.set(key, value[:17] + b"1")  # its lease has run out
        [outcome] = await score(runtime, item)
        [again] = await score(runtime, item)
        assert again.content == outcome.content
        client.close()

    with_runtime(serving, body)
    [record] = decisions(serving)
    assert record["seqs"]["account"] == 1


def test_an_old_payment_seen_again_is_not_applied_twice_though_the_state_forgot_it(
    serving: Settings, with_runtime: Any
) -> None:
    old = event(event_ts="2026-09-01T12:34:56.789Z")

    async def body(runtime: Runtime) -> None:
        await score(runtime, old)
        client = redis.Redis.from_url(serving.redis_address)
        for key in client.scan_iter("*:a:*"):  # what the state keeps for `answer_ttl`
            client.delete(key)
        client.close()
        [again] = await score(runtime, old)
        assert again.repeated
        await score(runtime, event(account_id=old["account_id"]))

    with_runtime(serving, body)
    assert [record["seqs"]["account"] for record in decisions(serving)] == [1, 2]


def test_somebody_elses_lease_ends_in_busy_at_the_deadline(serving: Settings, with_runtime: Any) -> None:
    item = event()
    hasty = serving.model_copy(update={"deadline_ms": 300})

    async def body(runtime: Runtime) -> None:
        await runtime.store.claim_and_apply([submission(runtime, item)], time.monotonic() + 20)
        [outcome] = await score(runtime, item)
        assert isinstance(outcome, Busy)

    with_runtime(hasty, body)


def test_functions_and_scripts_lost_with_a_restart_of_redis_are_loaded_again(
    serving: Settings, with_runtime: Any
) -> None:
    async def body(runtime: Runtime) -> None:
        await score(runtime, event())
        client = redis.Redis.from_url(serving.redis_address)
        client.function_flush()
        client.script_flush()
        client.close()
        [outcome] = await score(runtime, event())
        assert json.loads(outcome.content)["route"] == "champion"

    with_runtime(serving, body)


def test_before_a_state_was_built_and_after_its_loss_nothing_is_folded_anywhere(
    settings: Settings, with_runtime: Any
) -> None:
    stateless = settings.changed(backend="onnxruntime", deadline_ms=20_000)

    async def state_keys(runtime: Runtime) -> list[bytes]:
        return [key async for key in runtime.state.client.scan_iter("*:{account:*")]

    async def body(runtime: Runtime) -> None:
        [early] = await score(runtime, event())
        answer = json.loads(early.content)
        assert (answer["fallback_reason"], answer["logged"]) == ("features_unavailable", True)
        assert await state_keys(runtime) == []
        begin_state(stateless)
        await runtime.store.tend()
        [served] = await score(runtime, event())
        assert json.loads(served.content)["fallback_reason"] == "no_model"
        assert len(await state_keys(runtime)) == 1

        await runtime.state.client.flushall()
        await runtime.store.tend()
        assert "state rebuild" in runtime.readiness().missing["state"]
        await score(runtime, event())
        assert await state_keys(runtime) == []

    with_runtime(stateless, body)


def test_a_state_that_cannot_be_withdrawn_since_redis_went_away_is_not_used_all_the_same(
    serving: Settings, with_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(client: Any, commands: Any) -> Any:
        raise redis.ConnectionError("the server went away")

    async def body(runtime: Runtime) -> None:
        await score(runtime, event(), event())
        with redis.Redis.from_url(serving.redis_address) as client:
            gate = gate_key(serving.namespace, 0)
            [mine] = [name for name in client.hkeys(gate) if name.startswith(b"logged:")]
            client.hincrby(gate, mine, -1)  # as after a fail-over
        monkeypatch.setattr(watch, "exchange_async", away)
        [outcome] = await score(runtime, event())
        answer = json.loads(outcome.content)
        assert (answer["fallback_reason"], answer["logged"]) == ("state_lost", True)

    with_runtime(serving, body)


def test_without_redis_the_rules_decide_and_the_answer_says_so(serving: Settings, with_runtime: Any) -> None:
    nowhere = serving.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    nowhere.__dict__.pop("redis_address", None)

    async def body(runtime: Runtime) -> None:
        large = event(amount_minor=150_000, amount_base_minor=150_000, card_present=False, channel="ecom")
        small, huge = event(), event(amount_minor=900_000, amount_base_minor=900_000, card_present=True)
        answers = [json.loads(outcome.content) for outcome in await score(runtime, large, small, huge)]
        assert [(each["decision"], each["route"]) for each in answers] == [
            ("review", "rules"), ("approve", "default"), ("decline", "default"),
        ]  # fmt: skip
        assert {each["fallback_reason"] for each in answers} == {"redis_unreachable"}
        assert not any(each["logged"] for each in answers)
        assert answers[0]["reasons"][0]["code"] == "rule.large_remote_payment"
        assert "state" in runtime.readiness().missing

    with_runtime(nowhere, body)


def test_without_a_model_the_rules_see_the_features_and_the_decision_is_logged(
    settings: Settings, with_runtime: Any
) -> None:
    modelless = settings.changed(backend="onnxruntime", deadline_ms=20_000)
    begin_state(modelless)

    async def body(runtime: Runtime) -> None:
        [outcome] = await score(runtime, event())
        answer = json.loads(outcome.content)
        assert (answer["fallback_reason"], answer["backend"], answer["logged"]) == ("no_model", "none", True)
        assert "model" in runtime.readiness().missing

    with_runtime(modelless, body)
    [record] = decisions(modelless)
    assert len(record["vector"]) == len(default_features().names)
    assert PathAliasStore(modelless.bundles_path).read().generation == 0

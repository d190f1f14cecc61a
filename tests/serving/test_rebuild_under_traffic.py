"""The online state rebuilt while payments are scored: nothing counted twice, nothing missed, every vector recomputed alike."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.online_state import StateBuild, rebuild_state
from fraud_core.errors import SpearheadError, StateError
from fraud_core.features import sweep_epochs
from fraud_core.features.handover import gate_key
from fraud_core.features.server import ServerFacts
from fraud_core.log import open_log
from fraud_core.settings import Settings, load_settings
from fraud_serving.runtime import Runtime
from fraud_serving.scoring.submission import Answered
from tests.assets.history import declarations, ingested_past
from tests.assets.monitoring.test_parity import compare
from tests.serving.samples import event
from tests.serving.scoring.test_scorer import score

pytestmark = [pytest.mark.valkey, pytest.mark.early]
ACCOUNTS = 12
WRITERS = 4
PAUSE_S = 0.01
"""Between a writer's payments: without one, on a busy machine, decisions come faster than the rebuild beside them folds."""


@pytest.fixture
def alive(tmp_path: Path, valkey_url: str) -> Settings:
    """A short history in the lake and a state built from it; no model, which no vector depends on."""
    made = load_settings(
        _env_file=None,
        home=tmp_path / "home",
        redis_url=valkey_url,
        backend="onnxruntime",
        deadline_ms=20_000,
        state_fence_s=20,
    )
    ingested_past(made, days=2)
    rebuild(made)
    return made


def rebuild(settings: Settings, **more: Any) -> StateBuild:
    log = open_log(settings)
    try:
        return rebuild_state(settings, open_lake(settings), log, *declarations(settings), **more)
    finally:
        log.close()


def payment(number: int) -> dict[str, Any]:
    """A payment of one of a few entities, so that all of them are busy at all times."""
    who, amount = number % ACCOUNTS, 100 + number
    return event(
        account_id=f"acc_{who:06d}", card_id=f"crd_{who:06d}", merchant_id=f"mer_{number % 3:06d}",
        amount_minor=amount, amount_base_minor=amount,
    )  # fmt: skip


@dataclass
class Traffic:
    """Writers that score one payment after another until told to stop; some payments are sent twice at once."""

    runtime: Runtime
    repeats: bool = True
    """Not across a wipe, which takes the claims too: one payment may then be answered twice."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.Task[None]] = field(default_factory=list)

    async def writer(self, first: int) -> None:
        number = first
        while not self.stop.is_set():
            item = payment(number)
            again = self.repeats and number % 5 == 0
            outcomes = await asyncio.gather(*[self.answer(item) for _ in range(1 + again)])
            contents = {outcome.content for outcome in outcomes}
            assert len(contents) == 1, "a payment sent twice got two answers"
            self.answers.append(json.loads(contents.pop()))
            number += WRITERS
            await asyncio.sleep(PAUSE_S)

    async def answer(self, item: dict[str, Any]) -> Answered:
        """As a client does: sent again while another request with it is under way."""
        while True:
            [outcome] = await score(self.runtime, item)
            if isinstance(outcome, Answered):
                return outcome

    async def around(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something while the writers write, and let them see its end."""
        self.writers = [asyncio.create_task(self.writer(place)) for place in range(WRITERS)]
        await self.more(5)
        try:
            found = await work()
            await self.more(5)
        finally:
            self.stop.set()
            await asyncio.gather(*self.writers)
        return found

    async def more(self, count: int) -> None:
        wanted = len(self.answers) + count
        while len(self.answers) < wanted:
            for writer in self.writers:
                if writer.done():
                    writer.result()  # raises what ended it
            await asyncio.sleep(0.01)

    def reasons(self) -> Counter[str]:
        return Counter(answer["fallback_reason"] for answer in self.answers)


def check_everything(settings: Settings, traffic: Traffic) -> Lake:
    """Every answer is logged once, and every vector served is the one computed from the lake."""
    totals = run_ingest(settings)
    assert totals.reasons == {}
    lake = open_lake(settings)
    decided = lake.scan("decisions").select("transaction_id").collect()["transaction_id"].to_list()
    assert sorted(decided) == sorted(answer["transaction_id"] for answer in traffic.answers)
    parity = compare(settings, lake)
    assert parity.first_difference is None
    with_state = (
        lake.scan("decisions").filter(pl.col("vector").list.len() > 0).select(pl.len()).collect().item()
    )
    assert parity.compared == with_state > 0
    return lake


def test_a_rebuild_under_traffic_counts_every_payment_once(alive: Settings, with_runtime: Any) -> None:
    found: list[tuple[Traffic, StateBuild]] = []

    async def body(runtime: Runtime) -> None:
        traffic = Traffic(runtime)
        build = await traffic.around(lambda: asyncio.to_thread(rebuild, alive))
        found.append((traffic, build))

    with_runtime(alive, body)
    [(traffic, build)] = found
    assert (build.rebuilt.epoch, build.replaced) == (2, 1)
    lake = check_everything(alive, traffic)
    assert build.followed > 0
    assert 0 < build.fence_ms < alive.state_fence_s * 1000
    epochs = set(lake.scan("decisions").select("epoch").collect()["epoch"])
    assert epochs == {1, 2}, "the traffic met no handover"
    with redis.Redis.from_url(alive.redis_address) as client:
        sweep_epochs(client, "spearhead", keep={2})  # what was on its way to the old epoch at the flip
        assert not list(client.scan_iter("spearhead:1:*"))
        left = {name.partition(b":")[0] for name in client.hkeys(gate_key("spearhead", 0))}
        assert left == {b"closed", b"appended", b"logged"}


def test_a_payment_that_another_one_saw_is_logged_before_its_epoch_gives_way(
    alive: Settings, with_runtime: Any
) -> None:
    answers: list[dict[str, Any]] = []

    async def body(runtime: Runtime) -> None:
        finish, begun = runtime.store.finish, asyncio.Event()

        async def held_up(finished: Any, deadline: float) -> Any:
            begun.set()
            with redis.Redis.from_url(alive.redis_address) as client:
                while not client.hget(gate_key("spearhead", 0), "closing"):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            return await finish(finished, deadline)

        runtime.store.finish = held_up  # type: ignore[method-assign]  # stands in for one failure
        first = asyncio.create_task(score(runtime, payment(0)))
        await begun.wait()
        runtime.store.finish = finish  # type: ignore[method-assign]  # stands in for one failure
        [second] = await score(runtime, payment(ACCOUNTS))  # of the same account, and logged long before
        await asyncio.to_thread(rebuild, alive)
        answers.extend(json.loads(outcome.content) for outcome in (*await first, second))

    with_runtime(alive, body)
    lake = check_everything(alive, Traffic(None, answers=answers))  # type: ignore[arg-type]
    assert set(lake.scan("decisions").select("epoch").collect()["epoch"]) == {1}


def test_a_wipe_under_traffic_is_said_at_once_and_costs_a_rebuild_and_no_parity(
    alive: Settings, with_runtime: Any
) -> None:
    found: list[Traffic] = []

    async def body(runtime: Runtime) -> None:
        traffic = Traffic(runtime, repeats=False)

        async def wipe_and_rebuild() -> None:
            with redis.Redis.from_url(alive.redis_address) as client:
                client.flushall()
                client.function_flush()
                seen = len(traffic.answers)
                await traffic.more(2 * WRITERS)
                after = traffic.answers[seen + WRITERS :]  # what was on its way at the wipe is let pass
                assert {answer["fallback_reason"] for answer in after} == {"state_lost"}
                assert all(answer["degraded"] for answer in after)
            await asyncio.to_thread(rebuild, alive)
            await runtime.store.tend()

        await traffic.around(wipe_and_rebuild)
        found.append(traffic)

    with_runtime(alive, body)
    [traffic] = found
    assert traffic.reasons().keys() == {"no_model", "state_lost"}
    run_ingest(alive)
    lake = open_lake(alive)
    parity = compare(alive, lake)
    assert parity.first_difference is None
    assert parity.compared > 0
    degraded = lake.scan("decisions").filter(pl.col("fallback_reason") == "state_lost").collect()
    assert degraded.height
    # Their payments were held back until the log had been read to its end, so the new state knows them all.
    later = (
        lake.scan("transactions")
        .filter(pl.col("_epoch") == 2)
        .select(pl.col("_seq_account").min())
        .collect()
        .item()
    )
    assert later > 1


def test_a_server_that_forgot_what_it_acknowledged_loses_its_epoch(
    alive: Settings, with_runtime: Any
) -> None:
    async def body(runtime: Runtime) -> None:
        for number in range(6):
            await score(runtime, payment(number))
        with redis.Redis.from_url(alive.redis_address) as client:
            runtime.store.problem = "The connection was lost."  # as it is in a fail-over
            gate = gate_key("spearhead", 0)
            [mine] = [name for name in client.hkeys(gate) if name.startswith(b"logged:")]
            client.hincrby(gate, mine, -2)  # as a replica that lags behind
            client.hincrby(gate, "appended", 50)  # and others fill up what is missing
            await runtime.store.tend()
            [outcome] = await score(runtime, payment(7))
            answer = json.loads(outcome.content)
            assert (answer["fallback_reason"], answer["degraded"], answer["logged"]) == (
                "state_lost",
                True,
                True,
            )
            assert client.get("spearhead:epoch") is None
        await asyncio.to_thread(rebuild, alive)
        await runtime.store.tend()
        [outcome] = await score(runtime, payment(8))
        assert json.loads(outcome.content)["fallback_reason"] == "no_model"

    with_runtime(alive, body)


def test_a_server_that_may_evict_is_refused_and_noticed_while_running(
    alive: Settings, with_runtime: Any
) -> None:
    async def body(runtime: Runtime) -> None:
        with redis.Redis.from_url(alive.redis_address) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                await runtime.store.tend()
                [outcome] = await score(runtime, payment(1))
                assert json.loads(outcome.content)["fallback_reason"] == "features_unavailable"
                assert "allkeys-lru" in runtime.readiness().missing["state"]
                with pytest.raises(SpearheadError, match="noeviction was expected"):
                    await asyncio.to_thread(rebuild, alive)
            finally:
                client.config_set("maxmemory-policy", "noeviction")
        await runtime.store.tend()
        assert runtime.readiness().missing.keys() <= {"model"}

    with_runtime(alive, body)


def test_a_state_that_was_evicted_is_missed_by_the_first_payment_that_looks_for_it(
    alive: Settings, with_runtime: Any
) -> None:
    async def body(runtime: Runtime) -> None:
        [outcome] = await score(runtime, payment(1))
        before = json.loads(outcome.content)["fallback_reason"]
        with redis.Redis.from_url(alive.redis_address) as client:
            evicted = client.info("stats")["evicted_keys"]
            client.config_set("maxmemory-policy", "volatile-lru")
            client.config_set("maxmemory", 1)
            try:
                deadline = time.monotonic() + 60
                while client.info("stats")["evicted_keys"] == evicted or list(
                    client.scan_iter("spearhead:1:{*")
                ):
                    assert time.monotonic() < deadline, client.info("stats")["evicted_keys"] - evicted
            finally:
                client.config_set("maxmemory", 0)
                client.config_set("maxmemory-policy", "noeviction")
        # Two at once, before the background has looked again: neither is scored with an empty past.
        outcomes = await asyncio.gather(score(runtime, payment(2)), score(runtime, payment(3)))
        assert before == "no_model"
        for [outcome] in outcomes:
            assert json.loads(outcome.content)["fallback_reason"] == "state_lost"
        assert "keys were evicted" in runtime.readiness().missing["state"]
        await asyncio.to_thread(rebuild, alive)
        await runtime.store.tend()
        [outcome] = await score(runtime, payment(4))
        assert json.loads(outcome.content)["fallback_reason"] == "no_model"

    try:
        with_runtime(alive, body)
    finally:
        with redis.Redis.from_url(alive.redis_address) as client:
            client.config_resetstat()  # for what comes after on this server, nothing was evicted


def test_evictions_are_counted_from_when_they_were_noted() -> None:
    def now(run_id: str, evicted: int) -> ServerFacts:
        return ServerFacts.of({"run_id": run_id, "evicted_keys": evicted}, None)

    assert now("one", 7).evicted_since({"one": 7}) == 0
    assert now("one", 9).evicted_since({"one": 7}) == 2
    assert now("two", 3).evicted_since({"one": 7}) == 3  # another life of the server
    assert now("one", 0).evicted_since({"one": 7}) == 0  # its statistics were reset
    assert now("one", 2).evicted_since({"one": 7}) == 2


def test_a_fence_that_is_too_short_leaves_the_old_state_in_force(
    alive: Settings, with_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraud_core.features.handover.MARGIN_MS", 60_000)  # no flip is ever early enough

    hasty = alive.changed(state_fence_s=0.3)

    async def body(runtime: Runtime) -> None:
        traffic = Traffic(runtime)

        async def attempt() -> None:
            with pytest.raises(StateError, match="SPEARHEAD_STATE_FENCE_S"):
                await asyncio.to_thread(rebuild, hasty)

        await traffic.around(attempt)
        assert runtime.state.epoch() == 1
        check_everything(alive, traffic)

    with_runtime(alive, body)
    monkeypatch.undo()
    again = rebuild(alive)
    assert (again.rebuilt.epoch, again.resumed) == (2, True)

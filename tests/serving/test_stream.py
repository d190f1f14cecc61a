"""The stream scorer on a real log."""

import asyncio
import json
import time
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest
import redis

from fraud_core.errors import LostRange
from fraud_core.log import SCORER, Entry, Log, open_log
from fraud_core.settings import Settings
from fraud_serving.runtime import Runtime
from fraud_serving.scoring.submission import submit
from fraud_serving.scoring.unavailable import StoreUnavailable
from fraud_serving.stream import StreamScorer
from tests.serving.samples import default_features, event, payload, wait_until

pytestmark = pytest.mark.valkey


def decided(settings: Settings) -> list[str]:
    log = open_log(settings)
    [shard] = log.shards("decisions")
    found = [json.loads(each)["transaction_id"] for each in log.read(shard, 0, log.end(shard), 1000).payloads]
    log.close()
    return found


def block(*items: dict[str, Any], virtual_ms: list[int]) -> Entry:
    from fraud_core.log.framing import block_entry

    def typed(name: str, value: Any) -> Any:
        if name == "event_ts":
            return datetime.fromisoformat(value)
        return date.fromisoformat(value) if name == "card_issued_on" else value

    rows = [{name: typed(name, value) for name, value in item.items()} for item in items]
    frame = pl.DataFrame(rows, schema=default_features().contract.polars_schema())
    return block_entry(frame.with_columns(pl.Series("_virtual_ms", virtual_ms, dtype=pl.Int64)))


def drain(settings: Settings, runtime: Runtime) -> Any:
    async def run() -> None:
        log = open_log(settings)
        scorer = StreamScorer(runtime, log)
        while await scorer.step():
            pass
        await asyncio.to_thread(log.close)

    return run()


def test_fresh_events_are_scored_once_and_history_bad_rows_and_repeats_are_passed_over(
    serving: Settings, with_runtime: Any
) -> None:
    now_ms = time.time_ns() // 1_000_000
    fresh, over_http, in_block, past = event(), event(), event(), event(event_ts="2026-05-01T00:00:00.000Z")
    old_ms = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1000)
    log = open_log(serving)
    log.append("transactions", [block(past, in_block, virtual_ms=[old_ms, now_ms])])
    log.append(
        "transactions",
        [
            Entry("json", payload(fresh)),
            Entry("json", payload(over_http)),
            Entry("json", payload(fresh)),
            Entry("json", payload(event(amount_minor=-5))),
            Entry("json", b"not json"),
            Entry("json", b'{"transaction_id":' + b"[" * 5000 + b"]" * 5000 + b"}"),
            Entry("json", payload(event())[:-1] + b',"merchant_id":"mer_000999"}'),
            Entry("block", b"garbage"),
            Entry("json", payload(event()), virtual_ms=old_ms),
        ],
    )
    with redis.Redis.from_url(serving.redis_address) as client:  # as a newer producer would write
        client.xadd(f"{serving.namespace}:log:{{transactions.0}}", {"j9": payload(event())})

    async def body(runtime: Runtime) -> None:
        await runtime.scorer.score(
            [submit(runtime.contracts.transactions, over_http, "0" * 32, time.monotonic())]
        )
        await drain(serving, runtime)

    with_runtime(serving, body)
    expected = [over_http["transaction_id"], in_block["transaction_id"], fresh["transaction_id"]]
    assert decided(serving) == expected
    [shard] = log.shards("transactions")
    assert log.readers(shard) == {SCORER: log.end(shard)}

    # A scorer that died before it recorded how far it came reads the same entries again: nothing is added.
    log.forget_reader(shard, SCORER)
    with_runtime(serving, lambda runtime: drain(serving, runtime))
    assert decided(serving) == expected
    log.close()


def test_events_that_a_rebuild_has_folded_are_not_applied_again(serving: Settings, with_runtime: Any) -> None:
    log = open_log(serving)
    folded, later = event(), event()
    [offset] = log.append("transactions", [Entry("json", payload(folded))])

    async def body(runtime: Runtime) -> None:
        await registered_until(runtime, log, offset)
        wait_until(lambda: time.time_ns() // 1_000_000 > offset >> 20, "the next millisecond")
        await asyncio.to_thread(log.append, "transactions", [Entry("json", payload(later))])
        await drain(serving, runtime)

    with_runtime(serving, body)
    assert decided(serving) == [later["transaction_id"]]
    log.close()


async def registered_until(runtime: Runtime, log: Log, offset: int) -> None:
    """As if a rebuild had folded the log up to `offset`."""
    state = runtime.state
    registered = json.loads(await state.client.hget(state.calls.epochs_key, "1"))
    record = json.dumps(registered | {"ends": {log.shards("transactions")[0].app_id: offset}})
    await state.client.hset(state.calls.epochs_key, "1", record)


@pytest.mark.parametrize("folded", [True, False])
def test_entries_removed_unread_are_passed_over_only_where_a_rebuild_has_folded_them(
    serving: Settings, with_runtime: Any, folded: bool
) -> None:
    log = open_log(serving)
    [shard] = log.shards("transactions")
    later = event()
    offsets = [log.append("transactions", [Entry("json", payload(event()))])[0] for _ in range(3)]
    log.advance_reader(shard, SCORER, offsets[0])
    [last] = log.append("transactions", [Entry("json", payload(later))])

    async def body(runtime: Runtime) -> None:
        key = "spearhead:log:{transactions.0}"
        await runtime.state.client.xtrim(
            key, minid=f"{offsets[2] >> 20}-{offsets[2] & 0xFFFFF}", approximate=False
        )
        await registered_until(runtime, log, offsets[2] if folded else offsets[1])
        scorer = StreamScorer(runtime, log)
        if not folded:
            with pytest.raises(LostRange, match="may be lost"):
                await scorer.run(asyncio.Event())
            return
        while await scorer.step() == 0:
            pass
        assert log.readers(shard) == {SCORER: last}

    with_runtime(serving, body)
    assert decided(serving) == ([later["transaction_id"]] if folded else [])
    log.close()


def test_a_stop_is_heeded_while_decisions_cannot_be_logged_and_nothing_is_lost(
    serving: Settings, with_runtime: Any
) -> None:
    log = open_log(serving)
    [shard] = log.shards("transactions")
    waiting = event()
    log.append("transactions", [Entry("json", payload(waiting))])
    hasty = serving.changed(deadline_ms=1000)  # a claim that was not finished is free after twice that

    async def body(runtime: Runtime) -> None:
        scorer, stop, finish = StreamScorer(runtime, log), asyncio.Event(), runtime.store.finish
        tried = asyncio.Event()

        async def refuse(*_: Any) -> Any:
            tried.set()
            raise StoreUnavailable("redis_unreachable", "No memory left.")

        runtime.store.finish = refuse  # type: ignore[method-assign]  # stands in for one failure
        running = asyncio.create_task(scorer.run(stop))
        await tried.wait()
        stop.set()
        await asyncio.wait_for(running, 60)
        assert log.readers(shard) == {SCORER: 0}
        runtime.store.finish = finish  # type: ignore[method-assign]  # stands in for one failure

    with_runtime(hasty, body)
    with_runtime(hasty, lambda runtime: drain(serving, runtime))
    assert decided(serving) == [waiting["transaction_id"]]
    log.close()

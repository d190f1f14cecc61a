"""What every log must do, run against each implementation."""

import json
from base64 import b64decode
from collections.abc import Iterator

import polars as pl
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_core.errors import LogError, LogUnavailable, LostRange
from fraud_core.log import BLOCK, JSON, UNKNOWN, Entry, Log, Origin, block_entry, json_entry, open_log
from fraud_core.log.counting import TallyByReading
from fraud_core.log.redis_streams import MAX_SEQ, RedisLog, to_id, to_offset
from fraud_core.log.shards import check_shards, shards_note
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    opened = open_log(settings)
    yield opened
    opened.close()


def entries(count: int, start: int = 0) -> list[Entry]:
    return [json_entry(b'{"n":%d}' % number) for number in range(start, start + count)]


def test_entries_come_back_in_order_with_their_offsets_and_times(log: Log) -> None:
    (shard,) = log.shards("transactions")
    block = block_entry(pl.DataFrame({"n": [1, 2]}))
    offsets = log.append("transactions", [json_entry(b"{}"), block, json_entry(b"[", virtual_ms=17)])
    assert offsets == sorted(set(offsets))
    read = log.read(shard, 0, log.end(shard), 10)
    assert read.offsets.tolist() == offsets
    assert read.kinds == [JSON, BLOCK, JSON]
    assert read.payloads == [b"{}", block.payload, b"["]
    assert read.virtual_ms.tolist() == [-1, -1, 17]
    assert read.append_ms.tolist() == [offset >> 20 for offset in offsets]
    assert read.end == offsets[-1] == log.end(shard)


def test_an_event_from_quarantine_names_its_origin_and_goes_to_the_shard_asked_for(
    settings: Settings,
) -> None:
    log = open_log(settings.model_copy(update={"shards": 3}))
    origin = Origin("transactions", "3f2a9c81d0e4", 2, 1876500000000000000, 4)
    sent = [json_entry(b"{}"), json_entry(b"[", virtual_ms=17, replay_of=str(origin)), json_entry(b"]")]
    for number in (2, 0):
        log.append("transactions", sent, shard=number)
    shards = log.shards("transactions")
    for number, count in enumerate((3, 0, 3)):
        read = log.read(shards[number], 0, log.end(shards[number]), 10)
        assert len(read) == count
        assert read.replay_of == ({1: str(origin)} if count else {})
        assert read.payloads == [b"{}", b"[", b"]"][:count]
    assert Origin.parse(str(origin)) == origin
    with pytest.raises(LogError, match="below 3"):
        log.append("transactions", sent, shard=3)
    log.close()


@pytest.mark.parametrize(
    "text", ["", "transactions", "transactions/a/0/-1/0", "t/a/0/9999999999999999999/0", "../a/0/1/0"]
)
def test_what_is_no_origin_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LogError, match="transactions/3f2a9c81d0e4/0/"):
        Origin.parse(text)


def test_a_read_goes_on_after_an_offset_and_stops_at_the_bounds(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    assert log.read(shard, offsets[2], offsets[5], 100).offsets.tolist() == offsets[3:6]
    assert log.read(shard, offsets[2], offsets[9], 2).offsets.tolist() == offsets[3:5]
    nothing = log.read(shard, offsets[9], offsets[9], 5)
    assert len(nothing) == 0
    assert nothing.end == offsets[9]


def test_an_empty_shard_ends_at_zero_and_reads_as_nothing(log: Log) -> None:
    (shard,) = log.shards("transactions")
    assert log.end(shard) == 0
    assert log.oldest(shard) == 0
    assert len(log.read(shard, 0, 0, 5)) == 0


def test_a_wiped_log_is_another_incarnation(log: Log, valkey_url: str) -> None:
    (before,) = log.shards("transactions")
    assert log.shards("transactions") == (before,)
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    (after,) = log.shards("transactions")
    assert after.incarnation != before.incarnation
    assert after.app_id != before.app_id


def test_equal_keys_share_a_shard_and_every_shard_is_used(settings: Settings) -> None:
    log = open_log(settings.model_copy(update={"shards": 4}))
    keys = [f"account-{number % 50}" for number in range(200)]
    log.append("transactions", [json_entry(key.encode()) for key in keys], keys)
    homes: dict[bytes, set[int]] = {}
    for shard in log.shards("transactions"):
        for payload in log.read(shard, 0, log.end(shard), 1000).payloads:
            homes.setdefault(payload, set()).add(shard.number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    assert set().union(*homes.values()) == {0, 1, 2, 3}
    log.close()


def test_the_number_of_shards_is_fixed_by_the_first_user(settings: Settings) -> None:
    one, two = open_log(settings), open_log(settings.model_copy(update={"shards": 5}))
    assert one.shards("labels") == two.shards("labels")
    one.close()
    two.close()


def test_trimming_keeps_the_entry_and_waits_for_the_slowest_reader(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    log.advance_reader(shard, "stream_scorer", offsets[3])
    assert log.trim(shard, offsets[7]) == 3
    assert log.oldest(shard) == offsets[3]
    log.advance_reader(shard, "stream_scorer", offsets[9])
    log.advance_reader(shard, "stream_scorer", offsets[1])  # a stalled twin never moves a reader back
    assert log.readers(shard) == {"stream_scorer": offsets[9]}
    log.trim(shard, offsets[7])
    assert log.oldest(shard) == offsets[7]
    assert log.depth(shard) == 3
    log.forget_reader(shard, "stream_scorer")
    log.trim(shard, offsets[9])
    assert log.oldest(shard) == offsets[9]
    assert log.end(shard) == offsets[9]


def test_a_reader_that_stands_at_the_beginning_holds_everything(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(3))
    log.advance_reader(shard, "rebuild", 0)
    assert log.trim(shard, offsets[2]) == 0


def test_a_gap_after_the_start_is_refused_with_its_range(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    log.trim(shard, offsets[6])
    with pytest.raises(LostRange, match=f"{to_id(offsets[2])}.*{to_id(offsets[6])}"):
        log.read(shard, offsets[2], offsets[9], 100)
    with pytest.raises(LostRange, match="from its beginning"):
        log.read(shard, 0, offsets[9], 100)
    assert len(log.read(shard, offsets[6], offsets[9], 100)) == 3


@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 5)),
            st.tuples(st.just("trim"), st.integers(0, 40)),
            st.tuples(st.just("read"), st.integers(1, 7)),
        ),
        max_size=25,
    )
)
def test_a_reader_gets_every_entry_once_or_an_error(
    log: Log, valkey_url: str, steps: list[tuple[str, int]]
) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    (shard,) = log.shards("random")
    appended: list[int] = []
    seen: list[int] = []
    gone = 0
    log._shards.clear()  # type: ignore[attr-defined]
    for step, number in steps:
        if step == "append":
            appended += log.append("random", entries(number))
        elif step == "trim" and appended:
            upto = appended[min(number, len(appended) - 1)]
            log.trim(shard, upto)
            gone = max(gone, upto)
        elif step == "read":
            after = seen[-1] if seen else 0
            lost = gone > after if after else gone > (appended[0] if appended else 0)
            if lost:
                with pytest.raises(LostRange):
                    log.read(shard, after, log.end(shard), number)
                return
            seen += log.read(shard, after, log.end(shard), number).offsets.tolist()
            assert seen == appended[: len(seen)]


# -- what only Redis can get wrong


def test_an_id_that_does_not_fit_is_refused(log: Log, valkey_url: str) -> None:
    (shard,) = log.shards("transactions")
    with redis.Redis.from_url(valkey_url) as client:
        key = "spearhead:log:{transactions.0}"
        client.xadd(key, {"j1": b"{}"}, id=f"5-{MAX_SEQ}")
        assert log.end(shard) == 5 << 20 | MAX_SEQ == to_offset(f"5-{MAX_SEQ}")
        client.xadd(key, {"j1": b"{}"}, id=f"5-{MAX_SEQ + 1}")
        with pytest.raises(LogError, match=f"5-{MAX_SEQ + 1}"):
            log.end(shard)
        with pytest.raises(LogError, match=f"5-{MAX_SEQ + 1}"):
            log.read(shard, 0, 6 << 20, 10)


@pytest.mark.parametrize(
    "fields",
    [
        ["j9", b"{}"],
        ["j1", b"{}", "z", b"1"],
        ["j1", b"{}", "a1", b""],
        ["v", b"5"],
        ["j1", b"{}", "j1", b"[]"],
    ],
)
def test_an_entry_of_an_unknown_framing_is_read_as_such_with_all_its_fields(
    log: Log, valkey_url: str, fields: list[str | bytes]
) -> None:
    (shard,) = log.shards("transactions")
    log.append("transactions", entries(1))
    with redis.Redis.from_url(valkey_url) as client:
        client.execute_command("XADD", "spearhead:log:{transactions.0}", "*", *fields)
    read = log.read(shard, 0, log.end(shard), 10)
    assert read.kinds == [JSON, UNKNOWN]
    kept = json.loads(read.payloads[1])
    assert kept["framing"] == fields[::2]
    assert [b64decode(text) for _, text in kept["fields_base64"]] == fields[1::2]


def test_a_producer_waits_while_the_clock_stands_behind_the_last_id(log: Log, valkey_url: str) -> None:
    log.append("transactions", entries(1))
    with redis.Redis.from_url(valkey_url) as client:
        seconds, _ = client.time()
        ahead = (seconds + 3600) * 1000
        client.xadd("spearhead:log:{transactions.0}", {"j1": b"{}"}, id=f"{ahead}-{MAX_SEQ - 1000}")
    log.append("transactions", entries(1))
    with pytest.raises(LogUnavailable, match="clock"):
        log.append("transactions", entries(1))


def test_a_server_that_may_evict_is_refused(settings: Settings, valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(LogError, match="noeviction"):
                open_log(settings)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_a_full_server_says_so_and_loses_nothing(log: Log, valkey_url: str) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(3))
    with redis.Redis.from_url(valkey_url) as client:
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(LogUnavailable, match="maxmemory"):
                log.append("transactions", entries(1))
        finally:
            client.config_set("maxmemory", "0")
    assert log.read(shard, 0, log.end(shard), 10).offsets.tolist() == offsets


def test_an_unreachable_server_is_named_without_its_password() -> None:
    log = RedisLog("redis://user:secret@127.0.0.1:1/0")
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1.*SPEARHEAD_REDIS_URL") as caught:
        log.probe()
    assert "secret" not in str(caught.value)
    log.close()


def test_events_are_counted_not_entries(log: Log) -> None:
    (shard,) = log.shards("transactions")
    assert log.tally(shard).appended == 0
    offsets = log.append("transactions", [*entries(3), block_entry(pl.DataFrame({"n": range(1000)}))])
    log.advance_reader(shard, "ingest", offsets[1], since=0, events=2)
    tally = log.tally(shard)
    assert tally.appended - tally.passed["ingest"] == tally.behind("ingest") == 1001
    log.advance_reader(shard, "ingest", offsets[2], since=offsets[1], events=1)
    assert log.tally(shard).behind("ingest") == 1000
    log.advance_reader(shard, "ingest", offsets[3], since=offsets[2], events=1000)
    assert log.tally(shard).behind("ingest") == 0
    later = log.append("transactions", [block_entry(pl.DataFrame({"n": range(7)})), *entries(2)])
    assert log.tally(shard).behind("ingest") == 9
    log.advance_reader(shard, "ingest", later[0], since=offsets[3], events=7)
    assert log.tally(shard).behind("ingest") == 2


def test_a_reader_that_registers_in_the_middle_is_counted_exactly(log: Log) -> None:
    (shard,) = log.shards("transactions")
    blocks = [block_entry(pl.DataFrame({"n": range(size)})) for size in (5, 50, 500)]
    offsets = log.append("transactions", [*entries(2), *blocks])
    log.advance_reader(shard, "ingest", offsets[-1])
    log.advance_reader(shard, "scorer", offsets[2])
    assert log.trim(shard, offsets[-1]) == 2
    tally = log.tally(shard)
    assert (tally.behind("ingest"), tally.behind("scorer")) == (0, 550)
    log.advance_reader(shard, "scorer", offsets[3], since=offsets[2], events=50)
    assert log.tally(shard).behind("scorer") == 500


def test_two_readings_of_one_range_count_once(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(10))
    log.advance_reader(shard, "ingest", offsets[3], since=0, events=4)
    log.advance_reader(shard, "ingest", offsets[3], since=0, events=4)
    log.advance_reader(shard, "ingest", offsets[5], since=0, events=6)
    assert log.tally(shard).behind("ingest") == 4


def test_a_log_without_counters_counts_each_entry_once(log: Log) -> None:
    (shard,) = log.shards("transactions")
    blocks = [block_entry(pl.DataFrame({"n": range(size)})) for size in (5, 50, 500)]
    offsets = log.append("transactions", [*entries(600), *blocks])
    log.advance_reader(shard, "ingest", offsets[400])
    counted = TallyByReading()
    assert counted.tally(log, shard).behind("ingest") == 199 + 555
    log.advance_reader(shard, "ingest", offsets[601])
    log.trim(shard, offsets[601])
    assert counted.tally(log, shard).behind("ingest") == 500
    log.append("transactions", entries(1))
    assert counted.tally(log, shard).behind("ingest") == 501
    last = log.append("transactions", entries(5))
    log.advance_reader(shard, "ingest", last[2])
    log.trim(shard, last[2])
    assert counted.tally(log, shard).behind("ingest") == 2


def test_a_block_that_does_not_say_how_many_events_it_holds_is_opened(log: Log, valkey_url: str) -> None:
    (shard,) = log.shards("transactions")
    log.append("transactions", entries(1))
    payload = block_entry(pl.DataFrame({"n": range(30)})).payload
    with redis.Redis.from_url(valkey_url) as client:
        client.xadd("spearhead:log:{transactions.0}", {b"a1": payload})
        client.xadd("spearhead:log:{transactions.0}", {b"a1": b"no block", b"n": b"x"})
    assert log.read(shard, 0, log.end(shard), 10).events == 32


def test_a_changed_number_of_shards_is_told_and_changes_nothing(settings: Settings) -> None:
    first = open_log(settings.changed(shards=2))
    first.append("transactions", entries(4))
    first.close()
    for asked, words in ((2, None), (5, "SPEARHEAD_SHARDS=5 has no effect: transactions has 2")):
        other = settings.changed(shards=asked)
        log = open_log(other)
        assert len(log.shards("transactions")) == 2
        note = shards_note(other, log, ["transactions"])
        assert note is None if words is None else words in (note or "")
        log.close()
    (told,) = check_shards(settings.changed(shards=5))
    assert not told.ok
    assert list(check_shards(settings)) == []

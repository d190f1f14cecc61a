"""What only Redis can get wrong."""

import json
from base64 import b64decode

import polars as pl
import pytest
import redis

from fraud_core.errors import LogError, LogUnavailable
from fraud_core.log import JSON, UNKNOWN, Entry, Log, block_entry, json_entry, open_log
from fraud_core.log.redis_ids import MAX_SEQ, to_offset
from fraud_core.log.redis_streams import RedisLog
from fraud_core.log.shards import check_shards, shards_note
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey


def entries(count: int, start: int = 0) -> list[Entry]:
    return [json_entry(b'{"n":%d}' % number) for number in range(start, start + count)]


def test_the_time_of_an_append_is_in_its_offset(log: Log) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(3))
    assert log.read(shard, 0, log.end(shard), 10).append_ms.tolist() == [offset >> 20 for offset in offsets]


def test_a_wiped_log_is_another_incarnation(log: Log, valkey_url: str) -> None:
    (before,) = log.shards("transactions")
    assert log.shards("transactions") == (before,)
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    (after,) = log.shards("transactions")
    assert after.incarnation != before.incarnation
    assert after.app_id != before.app_id


def test_the_number_of_shards_is_fixed_by_the_first_user(settings: Settings) -> None:
    one, two = open_log(settings), open_log(settings.model_copy(update={"shards": 5}))
    assert one.shards("labels") == two.shards("labels")
    one.close()
    two.close()


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

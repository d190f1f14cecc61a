"""What only Redis can do to a log: trim it, delete out of its middle, come back from an older copy. Never silently."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from fraud_core.errors import LostRange
from fraud_core.log import Entry, Log, json_entry
from fraud_core.log.redis_ids import to_id
from fraud_core.log.redis_streams import RedisLog
from fraud_core.log.valkey import start_valkey

pytestmark = pytest.mark.valkey
KEY = "spearhead:log:{transactions.0}"


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as opened:
        yield opened


def entries(count: int) -> list[Entry]:
    return [json_entry(b'{"n":%d}' % number) for number in range(count)]


@pytest.mark.parametrize("after", [0, 2])
def test_an_entry_deleted_out_of_the_unread_range_is_missed(
    log: Log, client: redis.Redis, after: int
) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(8))
    start = offsets[after] if after else 0
    client.xdel(KEY, to_id(offsets[5]))
    with pytest.raises(LostRange, match="removed unread" if start == 0 else to_id(offsets[5])):
        log.read(shard, start, offsets[4], 100)
    assert log.read(shard, offsets[6], offsets[7], 100).offsets.tolist() == [offsets[7]]


def test_deleting_what_was_read_and_trimming_it_raise_no_alarm(log: Log, client: redis.Redis) -> None:
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(8))
    client.xdel(KEY, to_id(offsets[1]))
    log.trim(shard, offsets[3])
    assert log.read(shard, offsets[3], offsets[7], 100).offsets.tolist() == offsets[4:]


def test_a_deletion_is_missed_after_a_restart_and_a_rewritten_file_too(tmp_path: Path) -> None:
    server = start_valkey(tmp_path, 0, appendfsync="always")
    log = RedisLog(server.url)
    (shard,) = log.shards("transactions")
    offsets = log.append("transactions", entries(6))
    log.close()
    with redis.Redis.from_url(server.url) as client:
        client.xdel(KEY, to_id(offsets[4]))
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            pass
    server.stop()
    server = start_valkey(tmp_path, 0)
    log = RedisLog(server.url)
    try:
        with pytest.raises(LostRange, match=to_id(offsets[4])):
            log.read(shard, offsets[2], offsets[5], 100)
    finally:
        log.close()
        server.stop()


@pytest.mark.parametrize("more", [0, 9], ids=["shorter than what was read", "grown past it since"])
def test_a_log_restored_from_an_older_copy_is_not_read_on(tmp_path: Path, more: int) -> None:
    server = start_valkey(tmp_path / "live", 0, appendfsync="always")
    log = RedisLog(server.url)
    (shard,) = log.shards("transactions")
    log.append("transactions", entries(3))
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    read_until = log.append("transactions", entries(3))[-1]
    log.close()
    server.stop()
    server = start_valkey(tmp_path / "copy", 0)
    log = RedisLog(server.url)
    try:
        log.append("transactions", entries(more))
        assert log.shards("transactions") == (shard,)
        with pytest.raises(LostRange, match=to_id(read_until)):
            log.read(shard, read_until, log.end(shard), 100)
    finally:
        log.close()
        server.stop()

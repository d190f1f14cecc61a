"""Sentinels: the log follows the master, with a real master, replica and sentinel."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from fraud_core.errors import LogError, LogUnavailable, SettingsError
from fraud_core.free_ports import free_ports
from fraud_core.log import json_entry
from fraud_core.log.redis_streams import RedisLog
from fraud_core.log.valkey import start_valkey, valkey_command
from fraud_core.redis_connection import sentinel_address
from fraud_core.settings import load_settings


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[int]:
    """Port of a sentinel that watches a master and its replica."""
    master, replica = (start_valkey(tmp_path / name, 0, appendfsync="no") for name in ("master", "replica"))
    with redis.Redis.from_url(replica.url) as client:
        client.replicaof("127.0.0.1", str(master.port))
    [port] = free_ports(1)
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor payments 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds payments 60000\n"
    )
    binary = valkey_command(tmp_path, 1)[0]
    process = subprocess.Popen([binary, str(configuration), "--sentinel"], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    try:
        until(lambda: knows_replica(client), "the sentinel to know the replica")
        yield port
    finally:
        client.close()
        process.kill()
        process.wait()
        master.stop()
        replica.stop()


def knows_replica(client: redis.Redis) -> bool:
    try:
        return bool(client.sentinel_slaves("payments"))
    except redis.ConnectionError:
        return False


def ordered(client: redis.Redis) -> bool:
    """Whether the sentinel took the order: it refuses while the replica's link is still coming up."""
    try:
        client.execute_command("SENTINEL", "FAILOVER", "payments")
    except redis.ResponseError as error:
        if "NOGOODSLAVE" not in str(error):
            raise
        return False
    return True


@pytest.mark.valkey
def test_the_log_follows_the_master_to_which_the_sentinels_point(sentinel: int) -> None:
    log = RedisLog(f"redis+sentinel://127.0.0.1:{sentinel}/payments/0")
    log.probe()
    [shard] = log.shards("transactions")
    first = log.append("transactions", [json_entry(b"{}")])
    client = redis.Redis(port=sentinel)
    before = client.sentinel_get_master_addr_by_name("payments")
    until(lambda: ordered(client), "a replica that may be promoted")
    until(lambda: client.sentinel_get_master_addr_by_name("payments") != before, "the fail-over")
    client.close()
    until(lambda: appends(log), "the new master to take entries")
    assert log.shards("transactions") == (shard,)
    assert log.read(shard, 0, log.end(shard), 10).offsets.tolist()[0] == first[0]
    log.close()


def appends(log: RedisLog) -> bool:
    try:
        log.append("transactions", [json_entry(b"{}")])
    except LogError:  # the old master is a replica already, or not yet reachable under its new name
        return False
    return True


def test_sentinels_that_do_not_answer_are_named_without_the_password() -> None:
    log = RedisLog("redis+sentinel://user:hidden@127.0.0.1:1/payments/0")
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1/payments") as caught:
        log.probe()
    assert "hidden" not in str(caught.value)
    log.close()


def test_an_address_of_sentinels_is_taken_apart() -> None:
    address = sentinel_address("rediss+sentinel://u:p%40@one:1,two/main/3")
    assert address is not None
    assert address.sentinels == (("one", 1), ("two", 26379))
    assert address.master == "main"
    assert list(address.options.values()) == [3, True, "u", "p@"]
    assert sentinel_address("redis://db:6379/0") is None
    for wrong in ("redis+sentinel://one:26379", "redis+sentinel:///main", "redis+sentinel://one:x/main"):
        with pytest.raises(SettingsError, match="SPEARHEAD_REDIS_URL"):
            load_settings(_env_file=None, redis_url=wrong)

"""The log on a Redis Cluster: where its keys are, what it says of one that is in motion, and who else uses the address."""

from pathlib import Path
from typing import Any

import pytest
import redis

from fraud_core.errors import LogError, LogUnavailable, SettingsError
from fraud_core.features.connect import open_state_client
from fraud_core.log import Log, json_entry, open_log
from fraud_core.log.redis_ids import to_id
from fraud_core.platform.own_checks import check_redis
from fraud_core.redis_connection import connect_redis
from fraud_core.redis_connection.address import cluster_address, place
from fraud_core.settings import Settings, load_settings
from tests.core.features.cluster import start_cluster, stop_cluster

pytestmark = pytest.mark.valkey


@pytest.fixture
def settings(tmp_path: Path, cluster_session: str) -> Settings:
    return load_settings(
        _env_file=None, home=tmp_path, redis_url=cluster_session, shards=8, namespace=f"n{tmp_path.name}"
    )


def test_shards_lie_on_several_nodes_and_all_keys_of_one_on_the_same(settings: Settings, log: Log) -> None:
    log.append("transactions", [json_entry(b'{"n":%d}' % number) for number in range(500)])
    for shard in log.shards("transactions"):
        log.advance_reader(shard, "ingest", log.end(shard))
    client: Any = connect_redis(settings.redis_address)
    keys = [key.decode() for key in client.scan_iter(f"{settings.namespace}:log:*")]
    slots: dict[str, set[int]] = {}
    for key in keys:
        slots.setdefault(key.partition("}")[0], set()).add(client.keyslot(key))
    assert len(keys) >= 8 * 3
    assert {len(found) for found in slots.values()} == {1}
    assert len({client.get_node_from_key(key).name for key in keys}) == 3
    client.close()


def test_offsets_come_back_in_the_order_of_the_entries_wherever_each_went(log: Log) -> None:
    sent = [json_entry(b'{"n":%d}' % number) for number in range(2500)]
    offsets = log.append("transactions", sent, [f"account-{number % 40}" for number in range(2500)])
    found = {}
    for shard in log.shards("transactions"):
        read = log.read(shard, 0, log.end(shard), 5000)
        found |= {bytes(payload): offset for payload, offset in zip(read.payloads, read.offsets, strict=True)}
    assert [found[entry.payload] for entry in sent] == offsets


def test_an_address_of_one_node_is_refused_with_that_of_the_cluster(settings: Settings) -> None:
    node = place(settings.redis_url).split(",")[0]
    wrong = settings.changed(redis_url=f"redis://{node}/0")
    with pytest.raises(LogError, match=rf"SPEARHEAD_REDIS_URL=redis\+cluster://{node} "):
        open_log(wrong)
    refused = {check.name: check for check in check_redis(wrong) if not check.ok}
    assert refused["redis cluster"].advice == f"SPEARHEAD_REDIS_URL=redis+cluster://{node}"


def test_the_doctor_names_the_cluster_and_what_any_of_its_nodes_lacks(settings: Settings) -> None:
    checks = {check.name: check for check in check_redis(settings)}
    assert "a cluster of 3" in checks["redis"].found
    assert all(check.ok for check in checks.values())
    host, port = cluster_address(settings.redis_url).nodes[1]  # type: ignore[union-attr]  # it is the address of a cluster
    with redis.Redis(host, port) as node:
        node.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(LogError, match=rf"{port} must never evict"):
                open_log(settings)
            assert "redis eviction" in {check.name for check in check_redis(settings) if not check.ok}
        finally:
            node.config_set("maxmemory-policy", "noeviction")


def test_the_online_state_takes_the_same_address(settings: Settings) -> None:
    with open_state_client(settings) as client:
        client.set(f"{settings.namespace}:x", 1)
        assert client.get(f"{settings.namespace}:x") == b"1"


def test_a_shard_that_moves_to_another_node_is_found_again_and_nothing_is_taken_for_empty(
    tmp_path: Path,
) -> None:
    """Moved as redis-cli moves slots, on a cluster of its own; whoever knew the old place first says so, then goes on."""
    processes, ports = start_cluster(tmp_path)
    try:
        log = open_log(load_settings(_env_file=None, redis_url=f"redis+cluster://127.0.0.1:{ports[0]}"))
        (shard,) = log.shards("transactions")
        offsets = log.append("transactions", [json_entry(b'{"n":%d}' % number) for number in range(5)])
        move_slot(ports, "spearhead:log:{transactions.0}")
        with pytest.raises(LogUnavailable, match=r"moving keys or failing over \(MovedError"):
            log.end(shard)
        assert log.end(shard) == offsets[-1]
        assert log.read(shard, offsets[1], offsets[-1], 10).offsets.tolist() == offsets[2:]
        assert log.append("transactions", [json_entry(b"{}")])[0] > offsets[-1]
        move_slot(ports, "spearhead:log:{transactions.0}")
        with pytest.raises(LogUnavailable, match="may have been appended"):
            log.append("transactions", [json_entry(b"{}")])
        assert log.depth(shard) == 6, to_id(offsets[-1])
        log.close()
    finally:
        stop_cluster(processes)


def move_slot(ports: list[int], key: str) -> None:
    """Give the slot of `key`, with its keys, from the node that has it to the next one."""
    nodes = [redis.Redis(port=port, decode_responses=True) for port in ports]
    names = [node.execute_command("CLUSTER", "MYID") for node in nodes]
    slot = nodes[0].execute_command("CLUSTER", "KEYSLOT", key)
    owner = next(number for number, node in enumerate(nodes) if holds(node, slot))
    target = (owner + 1) % len(nodes)
    nodes[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[owner])
    nodes[owner].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    keys = nodes[owner].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
    nodes[owner].execute_command("MIGRATE", "127.0.0.1", ports[target], "", 0, 60_000, "KEYS", *keys)
    for each in (target, owner, *(set(range(len(nodes))) - {target, owner})):
        nodes[each].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])
    for node in nodes:
        node.close()


def holds(node: Any, slot: int) -> bool:
    return int(node.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)) > 0


@pytest.mark.parametrize(
    "address",
    ["redis+cluster://", "redis+cluster://one,,two", "redis+cluster://one:x", "redis+cluster://one/3"],
)
def test_an_address_that_is_no_cluster_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"SPEARHEAD_REDIS_URL.*redis\+cluster://"):
        load_settings(_env_file=None, redis_url=address)


def test_an_address_of_a_cluster_is_taken_apart() -> None:
    address = cluster_address("rediss+cluster://u:p%40@one:1,two/0?ssl_ca_certs=/ca%20file.pem")
    assert address is not None
    assert address.nodes == (("one", 1), ("two", 6379))
    assert list(address.options) == ["ssl", "username", "password", "ssl_ca_certs"]
    assert list(address.options.values()) == [True, "u", "p@", "/ca file.pem"]


def test_a_cluster_that_does_not_answer_is_named_without_the_password() -> None:
    login = "u:hidden"
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1,127\.0\.0\.1:2") as caught:
        open_log(load_settings(_env_file=None, redis_url=f"redis+cluster://{login}@127.0.0.1:1,127.0.0.1:2"))
    assert "hidden" not in str(caught.value)

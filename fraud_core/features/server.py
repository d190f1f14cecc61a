"""What the Redis that holds the online state says of itself: whether it may forget, and how much its death can cost.

Of a cluster every primary is asked: any of them may evict entities' states, or lose them.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from redis import RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError, ResponseError

from fraud_core.features.wire import exchange_async

INFO_SECTIONS: Final = ("server", "memory", "stats", "persistence", "replication", "cluster")

_RUN_ID: Final = re.compile(rb"run_id:(\w+)")
_EVICTED_KEYS: Final = re.compile(rb"evicted_keys:(\d+)")
NOEVICTION: Final = "noeviction"
_LOSES: Final = {
    "always": "nothing that was acknowledged, as far as the server's disk keeps its promise",
    "everysec": "at most the last second",
    "no": "what the operating system had not written yet, usually some 30 seconds",
    "none": "everything since the last snapshot, or everything",
}


@dataclass(frozen=True)
class ServerFacts:
    """Facts of one moment: of one server, or of all primaries of a cluster together."""

    evictions: Mapping[str, int]
    """Keys evicted, by `run_id`: the life of a server's process, another one after a restart or a fail-over."""
    policy: str
    """maxmemory-policy; of several the one that may evict, if any may."""
    used_bytes: int
    fsync: str
    """When the append-only file is synced: always, everysec, no; none without such a file."""
    replicas: int
    cluster: bool

    @classmethod
    def of(cls, info: Mapping[str, Any], fsync: str | None) -> "ServerFacts":
        """From INFO (the sections of INFO_SECTIONS) and CONFIG GET appendfsync, which a server may refuse: None."""
        appends = bool(int(info.get("aof_enabled", 0)))
        return cls(
            evictions={str(info.get("run_id", "")): int(info.get("evicted_keys", 0))},
            policy=str(info.get("maxmemory_policy", "noeviction")),
            used_bytes=int(info.get("used_memory", 0)),
            fsync=(fsync or "everysec") if appends else "none",
            replicas=int(info.get("connected_slaves", 0)),
            cluster=bool(int(info.get("cluster_enabled", 0))),
        )

    @classmethod
    def together(cls, servers: Sequence["ServerFacts"]) -> "ServerFacts":
        """What is true of several servers: the worst that is true of any."""
        return cls(
            evictions={life: keys for each in servers for life, keys in each.evictions.items()},
            policy=next((each.policy for each in servers if each.policy != NOEVICTION), NOEVICTION),
            used_bytes=sum(each.used_bytes for each in servers),
            fsync=max((each.fsync for each in servers), key=list(_LOSES).index),
            replicas=min(each.replicas for each in servers),
            cluster=any(each.cluster for each in servers),
        )

    @property
    def evicted(self) -> int:
        """Keys evicted in these lives of the servers."""
        return sum(self.evictions.values())

    def problem(self) -> str | None:
        """Why an online state on this server cannot be trusted; None when it can."""
        if self.policy == NOEVICTION:
            return None
        return (
            f"Redis may evict (maxmemory-policy {self.policy}, {self.evicted} keys evicted so far): entities would be forgotten "
            "without a word. noeviction was expected: CONFIG SET maxmemory-policy noeviction, then `spearhead state rebuild` "
            "if keys were evicted."
        )

    def evicted_since(self, noted: Mapping[str, int]) -> int:
        """Keys evicted since `evictions` were noted; in another life of a server, or since CONFIG RESETSTAT, all that it counts."""
        return evicted_since(self.evictions, noted)

    def durability(self) -> dict[str, Any]:
        """What is promised of an answer that says `logged: true`, for whoever asks."""
        return {
            "store": "redis",
            "appendfsync": self.fsync,
            "process_death_loses": _LOSES.get(self.fsync, _LOSES["none"]),
            "power_loss": "the same" if self.fsync in {"always", "none"} else "may lose more than that",
            "replicas": self.replicas,
            "fail_over_loses": "what the replica had not received" if self.replicas else None,
        }


def evicted_since(evictions: Mapping[str, int], noted: Mapping[str, int]) -> int:
    """See ServerFacts.evicted_since."""
    return sum(
        keys - before if (before := noted.get(life, 0)) <= keys else keys for life, keys in evictions.items()
    )


def read_facts(client: Any) -> ServerFacts:
    """Ask a server, or every primary of a cluster. Raises RedisError."""
    if isinstance(client, RedisCluster):
        primaries = cast("Any", client).get_primaries()
        return ServerFacts.together([_facts_of(client, target_nodes=node) for node in primaries])
    return _facts_of(client)


def _facts_of(client: Any, **target: Any) -> ServerFacts:
    info = client.info(*INFO_SECTIONS, **target)
    try:
        fsync = client.config_get("appendfsync", **target).get("appendfsync")
    except ResponseError:
        fsync = None
    return ServerFacts.of(info, fsync)


async def read_facts_async(client: Any) -> ServerFacts:
    """See `read_facts`."""
    if isinstance(client, AsyncRedis):
        return await _facts_of_async(client)
    asked = (_facts_of_async(client, target_nodes=node) for node in client.get_primaries())
    return ServerFacts.together(await asyncio.gather(*asked))


async def _facts_of_async(client: Any, **target: Any) -> ServerFacts:
    info = await client.info(*INFO_SECTIONS, **target)
    try:
        fsync = (await client.config_get("appendfsync", **target)).get("appendfsync")
    except ResponseError:
        fsync = None
    return ServerFacts.of(info, fsync)


async def evictions_async(client: Any) -> dict[str, int]:
    """See ServerFacts.evictions: one cheap question to each server. Raises RedisError."""
    if not isinstance(client, AsyncRedis):
        asked = (client.info("server", "stats", target_nodes=node) for node in client.get_primaries())
        return {str(each["run_id"]): int(each["evicted_keys"]) for each in await asyncio.gather(*asked)}
    [stats] = await exchange_async(client, [("INFO", "server", "stats")])
    if isinstance(stats, RedisError):
        raise stats
    life, keys = (
        (_RUN_ID.search(stats), _EVICTED_KEYS.search(stats)) if isinstance(stats, bytes) else (None, None)
    )
    return {life[1].decode(): int(keys[1])} if life and keys else {}

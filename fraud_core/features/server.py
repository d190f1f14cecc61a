"""What the Redis that holds the online state says of itself: whether it may forget, and how much its death can cost."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from fraud_core.features.wire import exchange_async

INFO_SECTIONS: Final = ("server", "memory", "stats", "persistence", "replication", "cluster")

_EVICTED_KEYS: Final = re.compile(rb"evicted_keys:(\d+)")
_LOSES: Final = {
    "always": "nothing that was acknowledged, as far as the server's disk keeps its promise",
    "everysec": "at most the last second",
    "no": "what the operating system had not written yet, usually some 30 seconds",
    "none": "everything since the last snapshot, or everything",
}


@dataclass(frozen=True)
class ServerFacts:
    """One server's facts, of one moment."""

    run_id: str
    """Of this life of the process: another one after a restart or a fail-over."""
    policy: str
    """maxmemory-policy."""
    evicted: int
    """Keys evicted in this life."""
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
            run_id=str(info.get("run_id", "")),
            policy=str(info.get("maxmemory_policy", "noeviction")),
            evicted=int(info.get("evicted_keys", 0)),
            used_bytes=int(info.get("used_memory", 0)),
            fsync=(fsync or "everysec") if appends else "none",
            replicas=int(info.get("connected_slaves", 0)),
            cluster=bool(int(info.get("cluster_enabled", 0))),
        )

    def problem(self) -> str | None:
        """Why an online state on this server cannot be trusted; None when it can."""
        if self.policy == "noeviction":
            return None
        return (
            f"Redis may evict (maxmemory-policy {self.policy}, {self.evicted} keys evicted so far): entities would be forgotten "
            "without a word. noeviction was expected: CONFIG SET maxmemory-policy noeviction, then `spearhead state rebuild` "
            "if keys were evicted."
        )

    def evicted_since(self, run_id: str, evicted: int) -> int:
        """Keys evicted since these facts were noted; in another life of the server, or since CONFIG RESETSTAT, all that it counts."""
        same = run_id == self.run_id and evicted <= self.evicted
        return self.evicted - evicted if same else self.evicted

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


def read_facts(client: Any) -> ServerFacts:
    """Ask a server. Raises RedisError."""
    from redis.exceptions import ResponseError

    info = client.info(*INFO_SECTIONS)
    try:
        fsync = client.config_get("appendfsync").get("appendfsync")
    except ResponseError:
        fsync = None
    return ServerFacts.of(info, fsync)


async def read_facts_async(client: Any) -> ServerFacts:
    """See `read_facts`."""
    from redis.exceptions import ResponseError

    info = await client.info(*INFO_SECTIONS)
    try:
        fsync = (await client.config_get("appendfsync")).get("appendfsync")
    except ResponseError:
        fsync = None
    return ServerFacts.of(info, fsync)


async def evicted_keys_async(client: Any) -> int:
    """Keys that the server evicted in this life: one cheap question. Raises RedisError."""
    [stats] = await exchange_async(client, [("INFO", "stats")])
    if isinstance(stats, RedisError):
        raise stats
    found = _EVICTED_KEYS.search(stats) if isinstance(stats, bytes) else None
    return int(found[1]) if found else 0

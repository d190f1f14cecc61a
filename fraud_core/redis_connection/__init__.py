"""One way to a Redis for everybody, whatever its address says: one server, the master that sentinels name, a cluster, with or without TLS."""

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import ClusterNode, RedisCluster

from fraud_core.errors import SettingsError
from fraud_core.redis_connection.address import cluster_address, sentinel_address


def connect_redis(url: str, **options: Any) -> "redis.Redis":
    """A client of the Redis at `url`; of several with sentinels, always of the present master.

    Of a cluster it is a `RedisCluster`, which asks the nodes at once: raises RedisError when none answers.
    """
    if (cluster := cluster_address(url)) is not None:
        nodes: list[Any] = [ClusterNode(*node) for node in cluster.nodes]  # type: ignore[no-untyped-call]  # redis-py has no types here
        try:
            connected: Any = RedisCluster(startup_nodes=nodes, **cluster.options, **options)
        except redis.RedisClusterException as error:  # no RedisError, as everything else is
            raise redis.ConnectionError(_reason(error)) from error
        return connected  # type: ignore[no-any-return]  # redis-py has no types here
    address = sentinel_address(url)
    if address is None:
        return redis.Redis.from_url(url, **options)
    sentinels: Any = redis.Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types here
        address.sentinels, ssl=address.tls, **address.tls_options, **_patience(options)
    )
    client: redis.Redis = sentinels.master_for(address.master, **address.options, **options)
    return client


def connect_redis_async(url: str, **options: Any) -> "redis.asyncio.Redis":
    """The same for asyncio; nothing is asked before the first command."""
    if (cluster := cluster_address(url)) is not None:
        if "ssl_password" in cluster.tls_options:
            raise SettingsError(
                "SPEARHEAD_REDIS_KEY_PASSWORD was expected to be empty: the client of a cluster opens no key with a password. Keep the "
                "key without one, readable for this user alone."
            )
        nodes = [AsyncClusterNode(*node) for node in cluster.nodes]
        connected: Any = AsyncRedisCluster(startup_nodes=nodes, **cluster.options, **options)
        return connected  # type: ignore[no-any-return]  # redis-py has no types here
    address = sentinel_address(url)
    if address is None:
        return redis.asyncio.Redis.from_url(url, **options)
    sentinels: Any = redis.asyncio.Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types here
        list(address.sentinels), ssl=address.tls, **address.tls_options, **_patience(options)
    )
    client: redis.asyncio.Redis = sentinels.master_for(address.master, **address.options, **options)
    return client


def _patience(options: dict[str, Any]) -> dict[str, Any]:
    """A sentinel is asked with no more patience than the server."""
    return {name: options[name] for name in ("socket_timeout", "socket_connect_timeout") if name in options}


def _reason(error: Exception) -> str:
    """What a cluster's client says, without its advice on options of its own."""
    return str(error).partition("\n")[0]

"""A client for the Redis that holds the online state: of one server, or of a cluster where the server says that it is one."""

from typing import TYPE_CHECKING, Any

from redis.cluster import RedisCluster

from fraud_core.redis_connection import connect_redis

if TYPE_CHECKING:
    from fraud_core.settings import Settings


def open_state_client(settings: "Settings") -> Any:
    """A blocking client that returns bytes: a `Redis` or a `RedisCluster`. Raises RedisError when nobody answers."""
    client: Any = connect_redis(settings.redis_address)
    if isinstance(client, RedisCluster):
        return client
    if not int(client.info("cluster").get("cluster_enabled", 0)):
        return client
    client.close()
    return RedisCluster.from_url(settings.redis_address)

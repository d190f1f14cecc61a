"""A client for the Redis that holds the online state: of one server, or of a cluster where the server says that it is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.cluster import RedisCluster
from redis.exceptions import RedisError

from fraud_core.errors import StateError
from fraud_core.redis_connection import connect_redis
from fraud_core.redis_connection.address import place

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


@contextmanager
def state_client(settings: "Settings", refusal: str = "The online state cannot be asked") -> Iterator[Any]:
    """A client for as long as it is needed. What Redis refuses, its silence included, is a StateError that begins with `refusal`."""
    try:
        client = open_state_client(settings)
        try:
            yield client
        finally:
            client.close()
    except RedisError as error:
        raise StateError(
            f"{refusal}: {error}. Check Redis at {place(settings.redis_address)}; SPEARHEAD_REDIS_URL says where it is."
        ) from error

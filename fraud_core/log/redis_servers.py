"""Which server keeps a key of the log, and what its errors mean.

On a cluster a shard's keys carry one hash tag, so they live together on one node, and everything the log asks about a shard
goes to that node as it would to a server of its own. Who keeps what is asked of the cluster anew after each error.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, RedisClusterException, TryAgainError
from redis.retry import Retry

from fraud_core.errors import LogError, LogUnavailable
from fraud_core.redis_connection import connect_redis
from fraud_core.redis_connection.address import cluster_address, place, speaks_tls


class Servers:
    """The one server of the log, or the nodes of its cluster. Clients are redis-py's own and answer bytes."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url
        self._remedy = "Start it (`spearhead up`), or set SPEARHEAD_REDIS_URL to where it is."
        if speaks_tls(url):
            self._remedy += " By TLS, SPEARHEAD_REDIS_CA, SPEARHEAD_REDIS_CERTIFICATE and SPEARHEAD_REDIS_KEY must fit it."
        self.address = place(url)
        """For messages."""
        self.is_cluster = cluster_address(url) is not None
        # No retries inside the client: a retried XADD would append twice without anybody knowing.
        self._options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(timeout_s, 5.0),
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        self._cluster: Any = None
        self._one: Any = None if self.is_cluster else _raw_ranges(connect_redis(url, **self._options))

    def of(self, key: str) -> Any:
        """A client of the server that keeps `key`."""
        if self._one is not None:
            return self._one
        cluster = self._nodes()
        return _raw_ranges(cluster.get_redis_connection(cluster.get_node_from_key(key)))

    def all(self) -> list[Any]:
        """A client of each server that keeps keys."""
        if self._one is not None:
            return [self._one]
        cluster = self._nodes()
        return [cluster.get_redis_connection(node) for node in cluster.get_primaries()]

    def divide(self, route: Sequence[str]) -> list[tuple[Any, list[int] | None]]:
        """Each server with the places in `route`, an item's key each, that are its; None: all of them."""
        if self._one is not None:
            return [(self._one, None)]
        homes = {key: self.of(key) for key in set(route)}
        found: dict[int, tuple[Any, list[int]]] = {}
        for row, key in enumerate(route):
            found.setdefault(id(homes[key]), (homes[key], []))[1].append(row)
        return list(found.values())

    @contextmanager
    def connection(self, client: Any) -> Iterator[Any]:
        """A connection of redis-py, for what is packed and read by hand."""
        pool = client.connection_pool
        connection = pool.get_connection()
        try:
            yield connection
        finally:
            pool.release(connection)

    @contextmanager
    def errors(self, consequence: str = "Nothing was lost; try again when it is back.") -> Iterator[None]:
        """Errors of the client as the log's own, which say what was expected and what to do."""
        try:
            yield
        except (AskError, ClusterDownError, TryAgainError) as error:
            self._forget()
            raise LogUnavailable(self._in_motion(error, consequence)) from error
        except (redis.ConnectionError, redis.TimeoutError, RedisClusterException) as error:
            self._forget()
            raise LogUnavailable(
                f"Redis was expected to answer at {self.address}: {str(error).rstrip('.')}. {consequence} {self._remedy}"
            ) from error
        except redis.OutOfMemoryError as error:
            raise LogUnavailable(
                f"Redis at {self.address} has no memory left and, rightly, evicts nothing: {error}. {consequence} "
                "Give it more memory (maxmemory), or let the readers catch up: what they have passed is trimmed."
            ) from error
        except redis.RedisError as error:
            raise LogError(f"Redis at {self.address} refused a command of the log: {error}.") from error

    def check(self) -> None:
        """Refuse a server that cannot be reached, is too old, or may evict what was not read."""
        with self.errors():
            for client in self.all():
                self._check_server(client)

    def _check_server(self, client: Any) -> None:
        memory, server, cluster = (client.info(section) for section in ("memory", "server", "cluster"))
        at = self.address
        if self.is_cluster:
            at = "{host}:{port}".format(**client.connection_pool.connection_kwargs)
        if int(cluster.get("cluster_enabled", 0)) and not self.is_cluster:
            raise LogError(
                f"Redis at {at} is a node of a cluster, and its address was expected to say so: "
                f"SPEARHEAD_REDIS_URL=redis+cluster://{at.partition('/')[0]} (rediss+cluster:// by TLS)."
            )
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise LogError(
                f"Redis at {at} must never evict: maxmemory-policy noeviction was expected, found {policy}. "
                "Set it in the server's configuration (CONFIG SET maxmemory-policy noeviction)."
            )
        version = str(server.get("redis_version", "0"))
        if int(version.split(".", maxsplit=1)[0]) < 7:
            raise LogError(f"Redis 7 or Valkey was expected at {at}, found version {version}: upgrade it.")

    def close(self) -> None:
        """Give back the connections."""
        if self._one is not None:
            self._one.close()
        self._forget()

    def _nodes(self) -> Any:
        if self._cluster is None:
            self._cluster = connect_redis(self._url, **self._options)
        return self._cluster

    def _forget(self) -> None:
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _in_motion(self, error: Exception, consequence: str) -> str:
        said = f"{type(error).__name__}: {error}"
        if self.is_cluster:
            return (
                f"The Redis Cluster at {self.address} is moving keys or failing over ({said}). {consequence}"
            )
        return (
            f"Redis at {self.address} is a node of a cluster and keeps a part of the keys only ({said}): its address was expected "
            f"to say so, SPEARHEAD_REDIS_URL=redis+cluster://{self.address.partition('/')[0]} (rediss+cluster:// by TLS)."
        )


def _raw_ranges(client: Any) -> Any:
    """The raw reply of XRANGE, not dictionaries: half the cost of reading."""
    client.response_callbacks.pop("XRANGE", None)
    return client

"""One way to a Redis for everybody: a server's own address, or the sentinels that know which server is the master now.

`redis+sentinel://sentinel-1:26379,sentinel-2:26379/mymaster/0` names the sentinels, the master's name with them and the
database; user and password, before the hosts as in any address, are the servers'. `rediss+sentinel://` speaks TLS with both.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import redis
import redis.asyncio

_SCHEMES = ("redis+sentinel", "rediss+sentinel")
_DEFAULT_PORT = 26379


@dataclass(frozen=True)
class SentinelAddress:
    """What a sentinel address says."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int
    login: dict[str, str]
    tls: bool

    @property
    def options(self) -> dict[str, Any]:
        """What a connection to the master needs besides its address."""
        return {"db": self.database, "ssl": self.tls, **self.login}


def sentinel_address(url: str) -> SentinelAddress | None:
    """The parts of a sentinel address; None for an address of another kind. Raises ValueError when it is malformed."""
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        return None
    login, _, places = rest.rpartition("@")
    hosts, _, path = places.partition("/")
    master, _, database = path.partition("/")
    if not hosts or not master:
        raise ValueError("redis+sentinel://sentinel-1:26379,sentinel-2:26379/master-name/0 was expected")
    sentinels = []
    for each in hosts.split(","):
        host, _, port = each.partition(":")
        sentinels.append((host, int(port or _DEFAULT_PORT)))
    user, _, password = login.partition(":")
    known = {"username": unquote(user), "password": unquote(password)}
    return SentinelAddress(
        tuple(sentinels),
        master,
        int(database or 0),
        {name: value for name, value in known.items() if value},
        scheme.startswith("rediss"),
    )


def connect_redis(url: str, **options: Any) -> "redis.Redis":
    """A client of the Redis at `url`; of several with sentinels, always of the present master."""
    address = sentinel_address(url)
    if address is None:
        return redis.Redis.from_url(url, **options)
    sentinels: Any = redis.Sentinel(address.sentinels, ssl=address.tls, **_patience(options))  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinels.master_for(address.master, **address.options, **options)
    return client


def connect_redis_async(url: str, **options: Any) -> "redis.asyncio.Redis":
    """The same for asyncio."""
    address = sentinel_address(url)
    if address is None:
        return redis.asyncio.Redis.from_url(url, **options)
    sentinels: Any = redis.asyncio.Sentinel(  # type: ignore[no-untyped-call]
        list(address.sentinels), ssl=address.tls, **_patience(options)
    )
    client: redis.asyncio.Redis = sentinels.master_for(address.master, **address.options, **options)
    return client


def _patience(options: dict[str, Any]) -> dict[str, Any]:
    """A sentinel is asked with no more patience than the server."""
    return {name: options[name] for name in ("socket_timeout", "socket_connect_timeout") if name in options}

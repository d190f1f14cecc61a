"""The addresses under which Redis can be reached, taken apart: one server, several with sentinels, the nodes of a cluster.

    redis://host:6379/0                                    one server
    redis+sentinel://sentinel-1:26379,sentinel-2/name/0    the sentinels, the master's name with them, the database
    redis+cluster://node-1:6379,node-2:6379                some nodes of a cluster, which know the others

With `rediss` all of them speak TLS. User and password, before the hosts, are the servers'. What follows a `?` are options of the
connection in redis-py's words, such as `ssl_ca_certs`; settings are put there (`with_tls`), so that an address says everything.
"""

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

SENTINEL: Final = ("redis+sentinel", "rediss+sentinel")
CLUSTER: Final = ("redis+cluster", "rediss+cluster")
SCHEMES: Final = ("redis", "rediss", "unix", *SENTINEL, *CLUSTER)
_SENTINEL_PORT: Final = 26379
_SERVER_PORT: Final = 6379


@dataclass(frozen=True)
class SentinelAddress:
    """What an address of sentinels says."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int
    login: dict[str, str]
    tls: bool
    tls_options: dict[str, str] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """What a connection to the master needs besides its address."""
        return {"db": self.database, "ssl": self.tls, **self.login, **self.tls_options}


@dataclass(frozen=True)
class ClusterAddress:
    """What an address of a cluster says."""

    nodes: tuple[tuple[str, int], ...]
    login: dict[str, str]
    tls: bool
    tls_options: dict[str, str] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """What a connection to a node needs besides its address."""
        return {"ssl": self.tls, **self.login, **self.tls_options}


def sentinel_address(url: str) -> SentinelAddress | None:
    """The parts of an address of sentinels; None for one of another kind. Raises ValueError when it is malformed."""
    scheme, login, places, options = _parts(url)
    if scheme not in SENTINEL:
        return None
    hosts, _, path = places.partition("/")
    master, _, database = path.partition("/")
    if not hosts or not master:
        raise ValueError("redis+sentinel://sentinel-1:26379,sentinel-2:26379/master-name/0 was expected")
    return SentinelAddress(
        _hosts(hosts, _SENTINEL_PORT), master, int(database or 0), login, scheme.startswith("rediss"), options
    )


def cluster_address(url: str) -> ClusterAddress | None:
    """The parts of an address of a cluster; None for one of another kind. Raises ValueError when it is malformed."""
    scheme, login, places, options = _parts(url)
    if scheme not in CLUSTER:
        return None
    hosts, _, database = places.partition("/")
    if not all(hosts.split(",")):
        raise ValueError("redis+cluster://node-1:6379,node-2:6379 was expected")
    if database not in ("", "0"):
        raise ValueError(
            "a cluster has the database 0 alone; redis+cluster://node-1:6379,node-2:6379 was expected"
        )
    return ClusterAddress(_hosts(hosts, _SERVER_PORT), login, scheme.startswith("rediss"), options)


def speaks_tls(url: str) -> bool:
    """Whether connections to this address are encrypted."""
    return url.partition("://")[0].startswith("rediss")


def with_tls(url: str, **files: str) -> str:
    """The address with options of TLS in it, those that are empty left out. They count for addresses of TLS alone."""
    options = "&".join(f"{name}={quote(value, safe='/')}" for name, value in files.items() if value)
    if not options or not speaks_tls(url):
        return url
    return f"{url}{'&' if '?' in url else '?'}{options}"


def place(url: str) -> str:
    """Where an address points, for messages: without scheme, user, password and options."""
    rest = url.partition("://")[2] or url
    return rest.rpartition("@")[2].partition("?")[0]


def _parts(url: str) -> tuple[str, dict[str, str], str, dict[str, str]]:
    scheme, _, rest = url.partition("://")
    login, _, places = rest.rpartition("@")
    places, _, options = places.partition("?")
    user, _, password = login.partition(":")
    known = {"username": unquote(user), "password": unquote(password)}
    return scheme, {name: value for name, value in known.items() if value}, places, dict(parse_qsl(options))


def _hosts(hosts: str, default_port: int) -> tuple[tuple[str, int], ...]:
    found = []
    for each in hosts.split(","):
        host, _, port = each.partition(":")
        found.append((host, int(port or default_port)))
    return tuple(found)

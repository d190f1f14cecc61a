"""A service of the local platform, declared: its command line, its ports, and how to know that it is ready."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from fraud_core.platform.probe import Probe


@dataclass(frozen=True)
class Port:
    """A port that a service listens on, and the setting that changes it."""

    number: int
    setting: str


Farewell = Callable[[Callable[[], bool]], None]
"""What is to be done while a service still runs and is about to be ended; is told how to ask whether somebody hurries."""


@dataclass(frozen=True)
class Service:
    """One process of the platform, with everything that is needed to start it and to tell people about it."""

    name: str
    argv: tuple[str, ...]
    ready: Probe | None = None
    """None: ready as soon as it runs."""
    ports: tuple[Port, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    folder: Path | None = None
    """Working folder; None: the supervisor's."""
    depends: tuple[str, ...] = ()
    start_timeout_s: float = 240.0
    """Long, for one that ends instead is noticed at once: a first start on a busy machine compiles for minutes."""
    stop_timeout_s: float = 10.0
    farewell: Farewell | None = None
    """Called before it is ended, while what it depends on still runs and what depends on it does not."""
    address: str = ""
    """Where people reach it; empty for services without a face."""

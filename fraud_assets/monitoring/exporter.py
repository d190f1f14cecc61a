"""`spearhead exporter`: metrics for Prometheus. A scrape gets what was seen last; looking happens in the background.

Each look has a thread of its own, so that a store that hangs keeps nobody waiting. What cannot be seen is not shown as it
was: its metrics go, and `spearhead_up{component=…}` becomes 0.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from fraud_core.errors import PlatformError, SpearheadError
from fraud_core.settings import Settings, load_settings

log = logging.getLogger(__name__)

Look = Callable[[], list[Metric]]
_SLOWEST: Final = 4
"""Intervals after which a look that has not come back counts as down."""
_DAGSTER_EVERY_S: Final = 60.0


class Watched:
    """One component: looked at again and again, by a thread of its own."""

    def __init__(self, name: str, open_look: Callable[[], Look], every_s: float) -> None:
        self.name, self.every_s = name, every_s
        self._open = open_look
        self._look: Look | None = None
        self._seen: tuple[float, bytes, float] | None = None
        """When, what, and how long it took."""
        self._down = False

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            self.look_once()
            stop.wait(self.every_s)

    def look_once(self) -> None:
        """Look now; what went wrong is logged, and shown as being down."""
        began = time.monotonic()
        try:
            self._look = self._look or self._open()
            text = rendered(self._look())
        except (
            Exception
        ) as error:  # the other components are still worth watching; the next look begins afresh
            if not self._down:
                log.warning("%s: %s", self.name, error if isinstance(error, SpearheadError) else repr(error))
            self._look, self._seen, self._down = None, None, True
            return
        self._down = False
        self._seen = time.monotonic(), text, time.monotonic() - began

    @property
    def state(self) -> tuple[bool, bytes, float]:
        """Whether it is up, its metrics as text, and how long the last look took."""
        seen = self._seen
        if seen is None or time.monotonic() - seen[0] > _SLOWEST * self.every_s:
            return False, b"", 0.0
        return True, seen[1], seen[2]


class Exporter:
    """Watches the components and answers scrapes."""

    def __init__(
        self, settings: Settings, looks: Mapping[str, tuple[Callable[[], Look], float]] | None = None
    ):
        chosen = looks if looks is not None else _looks(settings)
        self._watched = [Watched(name, opening, every_s) for name, (opening, every_s) in chosen.items()]
        self._stop = threading.Event()
        self._server = _server(settings, self.page)
        self.port = int(self._server.server_address[1])

    def page(self) -> bytes:
        """What a scrape gets."""
        from fraud_assets.monitoring.families import family

        states = {each.name: each.state for each in self._watched}
        own = [
            family(
                "up", "1 where a component could be looked at.", ("component",), (((name,), float(state[0])) for name, state in states.items())
            ),
            family(
                "look_seconds", "How long the last look took.", ("component",), (((name,), state[2]) for name, state in states.items() if state[0])
            ),
        ]  # fmt: skip
        return rendered(own) + b"".join(state[1] for state in states.values())

    def start(self) -> None:
        """Look and serve, in threads."""
        for each in self._watched:
            threading.Thread(target=each.run, args=(self._stop,), name=each.name, daemon=True).start()
        threading.Thread(target=self._server.serve_forever, name="exporter", daemon=True).start()

    def stop(self) -> None:
        """End serving and looking."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()


def rendered(metrics: Iterable[Metric]) -> bytes:
    """Metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Given(list(metrics)))
    return generate_latest(registry)


class _Given:
    """A collector of what is there already."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _looks(settings: Settings) -> dict[str, tuple[Callable[[], Look], float]]:
    from fraud_assets.monitoring.looks import DagsterLook, LakeLook, LogLook, ReleaseLook

    every = settings.exporter_interval_s
    return {
        "log": (lambda: LogLook(settings), every),
        "lake": (lambda: LakeLook(settings), every),
        "release": (lambda: ReleaseLook(settings), every),
        "dagster": (lambda: DagsterLook(settings), max(every, _DAGSTER_EVERY_S)),
    }


def _server(settings: Settings, page: Callable[[], bytes]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"/metrics": (page, CONTENT_TYPE_LATEST), "/livez": (lambda: b"ok\n", "text/plain")}
            made = known.get(self.path.partition("?")[0])
            body = made[0]() if made else b"Metrics are at /metrics.\n"
            self.send_response(200 if made else 404)
            self.send_header("Content-Type", made[1] if made else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A line per scrape would fill the log."""

    try:
        return ThreadingHTTPServer((settings.host, settings.exporter_port), Handler)
    except OSError as error:
        raise PlatformError(
            f"The exporter needs port {settings.exporter_port} on {settings.host}: {error.strerror}. Set "
            "SPEARHEAD_EXPORTER_PORT to a free port."
        ) from error


def exporter() -> None:
    """Serve backlog, freshness, quarantine, parity, release and table sizes as Prometheus metrics, until Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_settings()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    running = Exporter(settings)
    running.start()
    log.warning("Metrics at http://%s:%d/metrics", settings.host, running.port)
    stop.wait()
    running.stop()

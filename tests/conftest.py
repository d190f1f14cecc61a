"""Fixtures that every room's tests share: a real embedded Valkey, settings under a temporary folder, snapshots."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis

from fraud_core.errors import PlatformError
from fraud_core.log import Log, open_log
from fraud_core.log.kafka_broker import KafkaBroker
from fraud_core.log.valkey import start_valkey
from fraud_core.settings import Settings, load_settings
from tests import kafka
from tests.core.features.cluster import start_cluster, stop_cluster
from tests.order import KafkaTogether, in_order

# A busy machine is no failure, and a change is judged by the same examples each time. New ones are looked for on purpose:
# make test PYTEST_ARGS=--hypothesis-profile=search
hypothesis.settings.register_profile(
    "spearhead", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "search", hypothesis.settings.get_profile("spearhead"), derandomize=False
)
hypothesis.settings.load_profile("spearhead")


@pytest.fixture(scope="session")
def valkey_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of one embedded Valkey for the whole session; tests take `valkey_url`, which is empty for each."""
    server = start_valkey(tmp_path_factory.mktemp("valkey"), 0, appendfsync="no")
    yield server.url
    server.stop()


@pytest.fixture
def valkey_url(valkey_session: str) -> Iterator[str]:
    """Address of a real Valkey that holds nothing."""
    client = redis.Redis.from_url(valkey_session)
    client.flushall()
    client.function_flush()
    yield valkey_session
    client.close()


@pytest.fixture(scope="session")
def cluster_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a cluster of three embedded servers for the whole session; whoever uses it takes a namespace of its own."""
    processes, ports = start_cluster(tmp_path_factory.mktemp("cluster"))
    yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    stop_cluster(processes)


@pytest.fixture
def settings(tmp_path: Path, valkey_url: str) -> Settings:
    """Settings with everything under `tmp_path` and the log in a real, empty Valkey."""
    return load_settings(_env_file=None, home=tmp_path / "home", redis_url=valkey_url)


@pytest.fixture
def log(settings: Settings) -> Iterator[Log]:
    """The log of the test's own settings."""
    opened = open_log(settings)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def kafka_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One real Kafka broker for the whole session, started by the first test that asks for it."""
    if not kafka.is_real():
        pytest.skip(f"needs a real broker: {kafka.what_runs()}")
    try:
        server = kafka.broker(tmp_path_factory.mktemp("kafka"))
    except PlatformError as error:
        if kafka.REQUIRED:
            raise
        pytest.skip(f"needs a real broker: {error}")
    yield server
    server.stop()


@pytest.fixture
def kafka_settings(tmp_path: Path, kafka_session: KafkaBroker) -> Settings:
    """Settings with everything under `tmp_path` and the log in a real Kafka, empty."""
    return kafka.kafka_settings(kafka_session.servers, tmp_path / "home")


def pytest_report_header() -> str:
    return kafka.what_runs()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> KafkaTogether | None:
    return KafkaTogether(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew-snapshots", action="store_true", help="write tests/snapshots instead of comparing with it"
    )


@pytest.fixture
def matches_snapshot(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/snapshots/<name>, or write it when the snapshots are renewed (`make snapshots`)."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "snapshots" / name
        if request.config.getoption("--renew-snapshots"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            committed = path.read_text(encoding="utf-8") if path.exists() else ""
            assert text == committed, (
                f"{path.name} differs: if that is meant, run `make snapshots` and commit it"
            )

    return compare

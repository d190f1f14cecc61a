"""A real Apache Kafka broker of one's own (KRaft, one node, loopback), for tests and benchmarks; never for production.

Its jars come from Maven Central with `mvn`, once, into a cache folder; the broker runs on Java 17 or newer. Where either is
missing, PlatformError says so.
"""

import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fraud_core.errors import PlatformError
from fraud_core.free_ports import free_ports

VERSION: Final = "4.1.0"
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>spearhead</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
  </dependency><dependency>
    <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
  </dependency></dependencies>
</project>
"""
_LOG_FILE: Final = "broker.log"
_START_S: Final = 180.0
"""A JVM beside other work takes its time."""


@dataclass
class KafkaBroker:
    """A running broker; `servers` is what clients connect to."""

    servers: str
    folder: Path
    command: list[str]
    process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop this very process in good order; does nothing when it is gone already."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill -9."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def start_again(self, timeout_s: float = 180.0) -> None:
        """Start the stopped or killed broker on its data, at the same address."""
        self.process = _launch(self.command, self.folder)
        _await_listening(self, timeout_s)


def start_broker(
    folder: Path,
    cache: Path,
    *,
    properties: Mapping[str, str] | None = None,
    listeners: Sequence[str] = (),
    heap_mib: int = 512,
) -> KafkaBroker:
    """Start a broker with its data in `folder`, fetching its jars into `cache` where they are not there yet.

    `properties` are added to server.properties, `listeners` to its own (NAME://host:port). Raises PlatformError when it does not come up.
    """
    java = shutil.which("java")
    if java is None:
        raise PlatformError(
            "A Kafka broker of one's own needs Java 17 or newer, and there is no `java` on the PATH. Install one, or name "
            "a broker (SPEARHEAD_LOG=kafka, SPEARHEAD_KAFKA_SERVERS)."
        )
    folder = folder.resolve()  # the broker runs in it, and finds its configuration by this path
    jars = fetch_jars(cache.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    client, controller = free_ports(2)
    configuration = folder / "server.properties"
    wanted = _properties(folder, client, controller) | dict(properties or {})
    wanted["listeners"] = ",".join([wanted["listeners"], *listeners])
    configuration.write_text("".join(f"{name}={value}\n" for name, value in wanted.items()), encoding="utf-8")
    run = [
        java, f"-Xmx{heap_mib}m", "-XX:+UseSerialGC", "-Xshare:auto", "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{jars}/*",
    ]  # fmt: skip
    cluster = uuid.uuid4().hex[:22]
    formatted = subprocess.run(
        [*run, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(configuration)],
        capture_output=True,
        text=True,
        check=False,
    )
    if formatted.returncode:
        raise PlatformError(
            f"Kafka's storage in {folder} could not be formatted:\n{formatted.stdout[-2000:]}{formatted.stderr[-2000:]}"
        )
    command = [*run, "kafka.Kafka", str(configuration)]
    broker = KafkaBroker(f"127.0.0.1:{client}", folder, command, _launch(command, folder))
    try:
        _await_listening(broker, _START_S)
    except BaseException:
        broker.kill()
        raise
    return broker


def fetch_jars(cache: Path) -> Path:
    """The folder with the broker's jars, fetched where it is missing. Safe to call from several processes at once."""
    jars = cache / f"kafka-{VERSION}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise PlatformError(
            f"Kafka's jars are not in {jars}, and there is no `mvn` on the PATH to fetch them: install Maven, or name a broker "
            "(SPEARHEAD_LOG=kafka, SPEARHEAD_KAFKA_SERVERS)."
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as own:
        (Path(own) / "pom.xml").write_text(_POM, encoding="utf-8")
        fetched = subprocess.run(
            [maven, "-q", "-B", "-C", _PLUGIN, "-DoutputDirectory=jars", "-DincludeScope=runtime"],
            cwd=own,
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode:
            raise PlatformError(f"Maven could not fetch Kafka {VERSION}:\n{fetched.stdout[-2000:]}")
        try:
            (Path(own) / "jars").rename(jars)
        except OSError:
            if not jars.is_dir():  # else another process was first
                raise
    return jars


def _properties(folder: Path, client: int, controller: int) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "2",
    }


def _launch(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / _LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _await_listening(broker: KafkaBroker, timeout_s: float) -> None:
    host, _, port = broker.servers.rpartition(":")
    deadline = time.monotonic() + timeout_s
    while True:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((host, int(port))) == 0:
                return
        if broker.process.poll() is not None or time.monotonic() > deadline:
            tail = (broker.folder / _LOG_FILE).read_text(errors="replace")[-2000:]
            raise PlatformError(
                f"Kafka was expected to listen at {broker.servers}; it does not. The end of its log:\n{tail}"
            )
        time.sleep(0.05)

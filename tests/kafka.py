"""The real Kafka broker of the tests, and logs on it."""

import os
import shutil
import time
import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fraud_core.free_ports import free_ports
from fraud_core.log.kafka_broker import VERSION, KafkaBroker, start_broker
from fraud_core.log.kafka_connection import of_servers
from fraud_core.log.kafka_topics import create_topics
from fraud_core.settings import Settings, load_settings

CACHE: Final = Path(__file__).resolve().parent.parent / ".cache"
"""What is fetched once and kept: the broker's jars."""
REQUIRED: Final = bool(os.environ.get("REAL_KAFKA_REQUIRED"))
"""Set where a missing broker must be a failure and no skip: in continuous integration."""
MOCKED: Final = bool(os.environ.get("MOCK_KAFKA"))
"""Set where the mock cluster is wanted although a real broker could run."""
STREAMS: Final = ("transactions", "labels", "decisions")
CA_FILE: Final = "ca.pem"
SECURE_FILE: Final = "secure.address"
RETENTION_ACTS_AT_ONCE: Final = {
    "log.retention.check.interval.ms": "300",
    "log.initial.task.delay.ms": "300",
    "file.delete.delay.ms": "300",
}


USER: Final = "spearhead"
PASSWORD: Final = "not-a-secret-but-the-tests'"


def broker(folder: Path) -> KafkaBroker:
    """A broker of one's own, in which retention acts within a test, and which has a listener with TLS and SASL too."""
    folder.mkdir(parents=True, exist_ok=True)
    secure = f"127.0.0.1:{free_ports(1)[0]}"
    certificate, key = self_signed()
    (folder / CA_FILE).write_text(certificate)
    (folder / SECURE_FILE).write_text(secure)
    return start_broker(
        Path(os.path.relpath(folder)),  # as somebody types it
        CACHE,
        properties=RETENTION_ACTS_AT_ONCE | _secured(certificate, key),
        listeners=[f"SECURE://{secure}"],
        heap_mib=256,
    )


def _secured(certificate: str, key: str) -> dict[str, str]:
    secure = "listener.name.secure"
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        f"{secure}.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        f"{secure}.scram-sha-512.sasl.jaas.config": login,
        f"{secure}.ssl.keystore.type": "PEM",
        f"{secure}.ssl.keystore.certificate.chain": certificate.replace("\n", "\\n"),
        f"{secure}.ssl.keystore.key": key.replace("\n", "\\n"),
    }


def self_signed() -> tuple[str, str]:
    """A certificate for 127.0.0.1 that is its own CA, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), private.decode()


def secured(server: KafkaBroker, settings: Settings) -> Settings:
    """The same settings, by TLS and SASL with a user of its own."""
    admin = AdminClient({"bootstrap.servers": server.servers})
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    user = UserScramCredentialUpsertion(USER, scram, PASSWORD.encode())
    admin.alter_user_scram_credentials([user])[USER].result()
    return settings.changed(
        kafka_servers=(server.folder / SECURE_FILE).read_text(),
        kafka_security_protocol="SASL_SSL",
        kafka_username=USER,
        kafka_password=PASSWORD,
        kafka_ca=str(server.folder / CA_FILE),
    )


def kafka_settings(
    servers: str,
    home: Path,
    *,
    partitions: int = 1,
    topic_settings: dict[str, str] | None = None,
    **more: Any,
) -> Settings:
    """Settings whose log is in Kafka, in a namespace of its own, with its topics."""
    chosen = {
        "home": home,
        "log": "kafka",
        "kafka_servers": servers,
        "kafka_trim": True,
        "namespace": f"t{uuid.uuid4().hex[:8]}",
        "shards": partitions,
        **more,
    }
    settings = load_settings(_env_file=None, **chosen)
    make_topics(settings, partitions=partitions, topic_settings=topic_settings)
    return settings


def make_topics(
    settings: Settings, *, partitions: int = 1, topic_settings: dict[str, str] | None = None
) -> None:
    """The topics of the settings' namespace."""
    names = [f"{settings.namespace}.{stream}" for stream in STREAMS]
    create_topics(of_servers(settings.kafka_servers), names, partitions=partitions, settings=topic_settings)


def make_topics_again(settings: Settings) -> None:
    """Create what was deleted, once the broker has let go of it."""
    deadline = time.monotonic() + 60
    names = {f"{settings.namespace}.{stream}" for stream in STREAMS}
    connection = of_servers(settings.kafka_servers)
    while not create_topics(connection, sorted(names), partitions=1):
        assert time.monotonic() < deadline, "the deleted topic stayed"
        time.sleep(0.05)


def alter_topics(settings: Settings, values: dict[str, str]) -> None:
    """Set settings of the namespace's topics."""
    admin = AdminClient({"bootstrap.servers": settings.kafka_servers})
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in values.items()
    ]
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC, f"{settings.namespace}.{stream}", incremental_configs=entries
        )
        for stream in STREAMS
    ]
    for answer in admin.incremental_alter_configs(resources).values():
        answer.result()


def is_real() -> bool:
    """Whether a real broker can run here, and nobody asked for the mock cluster instead."""
    jars = (CACHE / f"kafka-{VERSION}").is_dir() or shutil.which("mvn")
    return REQUIRED or bool(not MOCKED and shutil.which("java") and jars)


def what_runs() -> str:
    """For the header of the tests."""
    if is_real():
        return f"kafka: a real Apache Kafka {VERSION} (KRaft, one broker), started by the first test that needs it"
    why = "MOCK_KAFKA is set" if MOCKED else "no Java 17 with Maven here"
    return f"kafka: librdkafka's mock cluster ({why}); tests of what it cannot do are skipped"

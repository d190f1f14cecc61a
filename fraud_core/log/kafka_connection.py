"""How clients reach Kafka, and what its errors mean to us: the settings as librdkafka's options, KafkaError as LogError."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from fraud_core.errors import LogError, LogUnavailable, SettingsError
from fraud_core.settings import Settings

_LOG = logging.getLogger(__name__)

REFUSALS: Final = frozenset(
    {
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        "UNSUPPORTED_VERSION",
        "INVALID_CONFIG",
    }
)
"""Errors that do not pass by waiting."""
UNHARMED: Final = "Nothing was lost; try again when it is back."
PASSING: Final = frozenset(
    {
        "NOT_LEADER_FOR_PARTITION",
        "LEADER_NOT_AVAILABLE",
        "REPLICA_NOT_AVAILABLE",
        "FENCED_LEADER_EPOCH",
        "UNKNOWN_LEADER_EPOCH",
        "NOT_COORDINATOR",
        "COORDINATOR_NOT_AVAILABLE",
        "COORDINATOR_LOAD_IN_PROGRESS",
    }
)
"""Errors of a cluster that is about to answer."""
_FILES: Final = {
    "kafka_ca": "ssl.ca.location",
    "kafka_certificate": "ssl.certificate.location",
    "kafka_key": "ssl.key.location",
}
"""Settings that name a file, and librdkafka's names for them."""
_ELECTION_S: Final = 10.0
_PAUSE_S: Final = 0.1
_Answer = TypeVar("_Answer")


@dataclass
class Connection:
    """Options that all clients of one log share, and what they last complained about."""

    options: dict[str, Any] = field(repr=False)
    timeout_s: float = 30.0
    last_error: str = ""

    @cached_property
    def admin(self) -> Any:
        """The client for everything but reading and appending."""
        from confluent_kafka.admin import AdminClient

        return AdminClient(self.client_options())

    @property
    def servers(self) -> str:
        return str(self.options["bootstrap.servers"])

    def client_options(self, **more: Any) -> dict[str, Any]:
        """Options of a new client; names with `_` for the dots of librdkafka's."""
        own = {name.replace("_", "."): value for name, value in more.items()}
        return {
            **self.options,
            "client.id": "spearhead",
            "log_level": 2,  # what goes wrong is raised; librdkafka's own lines on stderr are for its developers
            "error_cb": self._heard,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 2_000,
            "socket.connection.setup.timeout.ms": 5_000,
            **own,
        }

    def unavailable(self, error: object, consequence: str = UNHARMED) -> LogUnavailable:
        """The error for a broker that does not do its part now."""
        heard = f" ({self.last_error})" if self.last_error and self.last_error not in str(error) else ""
        return LogUnavailable(
            f"Kafka was expected to answer at {self.servers}: {error}{heard}. {consequence} Start it, or correct "
            "SPEARHEAD_KAFKA_SERVERS and the other SPEARHEAD_KAFKA_ settings (security protocol, user, CA)."
        )

    def ask(self, what: str, question: Callable[[], _Answer]) -> _Answer:
        """The answer to a question; asked again while the cluster elects a leader or has just made a topic."""
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + min(self.timeout_s, _ELECTION_S)
        while True:
            try:
                with self.errors(what):
                    return question()
            except LogError as error:
                cause = error.__cause__
                passing = isinstance(cause, KafkaException) and cause.args[0].name() in PASSING
                if not passing or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_S)
            with suppress(KafkaException):  # by itself the client would believe in the old leader for minutes
                self.admin.list_topics(timeout=_ELECTION_S)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn Kafka's errors into ours; `what` completes "Kafka refused to …"."""
        from confluent_kafka import KafkaException

        try:
            yield
        except KafkaException as error:
            raise self.translated(error.args[0], what) from error
        except TimeoutError as error:
            raise self.unavailable(f"no answer in {self.timeout_s:.0f} s") from error

    def translated(self, error: Any, what: str, consequence: str = UNHARMED) -> LogError:
        """A KafkaError as LogError: to wait for, or to act on."""
        if error.name() in REFUSALS:
            return LogError(
                f"Kafka at {self.servers} refused to {what}: {error.str()}. Give the user of SPEARHEAD_KAFKA_USERNAME the rights "
                "named in docs/operations.md (Kafka), or correct what is refused."
            )
        return self.unavailable(error.str(), consequence)

    def _heard(self, error: Any) -> None:
        self.last_error = error.str()
        _LOG.debug("Kafka: %s", error)


def connect(settings: Settings) -> Connection:
    """The connection that the settings describe. Raises SettingsError where they contradict each other."""
    if not settings.kafka_servers:
        raise SettingsError(
            "SPEARHEAD_LOG=kafka needs SPEARHEAD_KAFKA_SERVERS, such as broker-1:9092,broker-2:9092; it is empty."
        )
    protocol = settings.kafka_security_protocol
    options: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_servers,
        "security.protocol": protocol.lower(),
        "message.max.bytes": settings.kafka_max_message_bytes,
    }
    secret = settings.kafka_password.get_secret_value()
    if protocol.startswith("SASL"):
        if not (settings.kafka_username and secret):
            raise SettingsError(
                f"SPEARHEAD_KAFKA_SECURITY_PROTOCOL={protocol} needs SPEARHEAD_KAFKA_USERNAME and SPEARHEAD_KAFKA_PASSWORD."
            )
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_username,
            "sasl.password": secret,
        }
    elif settings.kafka_username or secret:
        raise SettingsError(
            f"SPEARHEAD_KAFKA_USERNAME and _PASSWORD are set, but SPEARHEAD_KAFKA_SECURITY_PROTOCOL is {protocol}, which sends "
            "neither: set SASL_SSL (or SASL_PLAINTEXT), or remove them."
        )
    if protocol.endswith("SSL"):
        if password := settings.kafka_key_password.get_secret_value():
            options["ssl.key.password"] = password
        for setting, option in _FILES.items():
            named = getattr(settings, setting)
            if not named:
                continue
            options[option] = str(path := Path(named).expanduser())
            if not path.is_file():
                raise SettingsError(
                    f"SPEARHEAD_{setting.upper()} was expected to name a PEM file; {named} is none. Correct it."
                )
    return Connection(options)


def of_servers(servers: str, **options: Any) -> Connection:
    """A connection to plain brokers, for tests and benchmarks."""
    given: Mapping[str, Any] = {name.replace("_", "."): value for name, value in options.items()}
    return Connection({"bootstrap.servers": servers, **given})

"""All settings, and the only reader of the environment.

Each field is the environment variable `SPEARHEAD_<FIELD>` (or a line of `.env` in the working folder); the string
under a field is its documentation, from which `.env.example` and the settings reference are generated.

SPEARHEAD_ENV_FILE names another file than `.env`; set and empty, no file is read. A child process is given every value
that is in force and no file: a value that is empty on purpose must not be filled in again from `.env`.
"""

import os
from datetime import date
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fraud_core.addresses import checked_folder, checked_redis_address, checked_tls_file, redacted
from fraud_core.errors import SettingsError
from fraud_core.redis_connection.address import with_tls

PREFIX = "SPEARHEAD_"
ENV_FILE_VARIABLE = f"{PREFIX}ENV_FILE"
TOKEN_VARIABLE = f"{PREFIX}PLATFORM_TOKEN"
"""Marks the processes of a local platform; nobody reads it but whoever ends them."""
VARIABLES_OF_OURS = (ENV_FILE_VARIABLE, TOKEN_VARIABLE)
PACKAGED_CONTRACTS = Path(__file__).resolve().parent.parent / "data_contracts"

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """One immutable set of settings, passed explicitly to whatever needs it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    # -- where things are
    home: Path = Field(Path(".spearhead"), validate_default=True)
    """Folder of everything the local platform writes: lake, bundles, Valkey, Dagster, logs, reports."""
    contracts: Path = PACKAGED_CONTRACTS
    """Contracts folder: transactions, labels and optionally decisions as *.odcs.yaml, and features.yaml."""
    lake: str = ""
    """Root of the Delta tables: a path (FlashBlade NFS) or s3://bucket/prefix. Empty: <home>/lake."""
    lake_marker: str = ""
    """Name of a file that must exist at the root of a path lake, so that an unmounted volume is refused. Empty: none."""
    bundles: str = ""
    """Folder of the release bundles and aliases.json. Empty: <home>/bundles."""
    reports: str = ""
    """Folder of the data-quality reports. Empty: <home>/reports."""

    # -- object store (only for an s3:// lake)
    s3_endpoint: str = ""
    """Endpoint of the S3 store, such as https://flashblade.example:443. Empty: the provider's default."""
    s3_region: str = "us-east-1"
    """Region name sent to the S3 store."""
    s3_access_key: SecretStr = SecretStr("")
    """Access key of the S3 store."""
    s3_secret_key: SecretStr = SecretStr("")
    """Secret key of the S3 store."""
    s3_timeout_s: float = Field(60.0, gt=0)
    """Seconds that one request to the S3 store may take; what fails is tried again for three times as long."""

    # -- the log and online state
    log: Literal["redis", "kafka"] = "redis"
    """Where the log is: redis (streams in the Redis of the online state) or kafka (SPEARHEAD_KAFKA_*)."""
    redis_url: str = ""
    """Redis or Valkey that holds log and online state (redis://, redis+sentinel://, redis+cluster://, each with rediss for TLS). Empty: the embedded Valkey."""
    redis_ca: str = ""
    """File of the CA certificates (PEM) that the certificates of Redis are checked with, for rediss. Empty: the system's."""
    redis_certificate: str = ""
    """File of the client's own certificate (PEM), where Redis asks for one (tls-auth-clients)."""
    redis_key: str = ""
    """File of that certificate's private key (PEM). Empty: it stands in the certificate's file."""
    redis_key_password: SecretStr = SecretStr("")
    """Password of that key."""
    namespace: str = "spearhead"
    """Prefix of every key in Redis."""
    shards: int = Field(1, ge=1, le=1024)
    """Shards of each stream; fixed once a stream exists."""

    # -- Kafka (only for SPEARHEAD_LOG=kafka)
    kafka_servers: str = ""
    """Bootstrap servers: host:port, several with commas. The topics are <namespace>.<stream>."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How clients speak with the brokers, in Kafka's words."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the user's password is proved."""
    kafka_username: str = ""
    """User of SASL."""
    kafka_password: SecretStr = SecretStr("")
    """Password of that user."""
    kafka_ca: str = ""
    """File of the CA certificates (PEM) that the brokers' certificates are checked with. Empty: the system's."""
    kafka_certificate: str = ""
    """File of the client's own certificate (PEM), where the brokers ask for one."""
    kafka_key: str = ""
    """File of that certificate's private key (PEM)."""
    kafka_key_password: SecretStr = SecretStr("")
    """Password of that key."""
    kafka_max_message_bytes: int = Field(1_048_588, ge=1024)
    """Largest message that is sent; the topics' max.message.bytes must allow it."""
    kafka_trim: bool = False
    """Whether what every registered reader has passed is deleted (DeleteRecords). Otherwise the topics' retention decides."""

    # -- ingestion
    plan_max_events: int = Field(200_000, ge=1)
    """Most events of one micro-batch."""
    commit_interval_s: float = Field(2.0, ge=0.05)
    """Seconds between micro-batches while a stream is not behind."""
    ingest_run_s: float = Field(900.0, gt=0)
    """Seconds after which an ingest run ends and the sensor starts the next."""
    ingest_drive: Literal["loop", "plan"] = "loop"
    """loop: plan after plan in one run (default); plan: one plan per run."""
    ingest_groups: int = Field(1, ge=1, le=64)
    """Ingest runs among which the shards are divided; more than one only where one cannot keep up."""
    uniqueness_window: int = Field(1_000_000, ge=0)
    """How many preceding valid events of its shard an event's id is compared with."""
    compact_every: int = Field(100, ge=2)
    """Commits of a table after which the ingest run merges its small files, unless they hold so much that upkeep has to."""
    quarantine_key: SecretStr = SecretStr("")
    """Fernet key (url-safe base64, 32 bytes) that encrypts quarantined bytes. Empty: they are kept as they came."""
    refused_share_warn: float = Field(0.05, ge=0, le=1)
    """Share of a stream's events refused within an hour above which a check of `data_quality` warns."""
    failpoint: str = ""
    """Fault drills only: name[:count] of a step of ingestion at which the process kills itself."""

    # -- backlog
    ingest_backlog_warn: int = Field(1_500_000, ge=1)
    """Events that ingestion may be behind before its backlog counts as high; four times as many are critical."""
    scorer_backlog_warn: int = Field(250_000, ge=1)
    """The same for the stream scorer."""
    reader_stalled_s: float = Field(900.0, gt=0)
    """A reader that stands still although entries have waited for longer than this is stalled: it keeps the log from being trimmed."""
    dagster_url: str = ""
    """Address of Dagster's webserver, such as http://dagster:80. Empty: the local platform's."""
    exporter_interval_s: float = Field(15.0, ge=1)
    """Seconds between two looks of the metrics exporter; a scrape in between gets the last one."""

    # -- upkeep and retention (0: kept for ever)
    vacuum_after_h: int = Field(24, ge=2)
    """Hours for which files that a table no longer needs are kept for those who still read an older version."""
    retain_transactions_days: int = Field(0, ge=0)
    """Days after their event date for which transactions and their features are kept."""
    retain_decisions_days: int = Field(0, ge=0)
    """Days after their event date for which decisions are kept."""
    retain_quarantine_days: int = Field(90, ge=0)
    """Days after their verdict for which quarantined events are kept."""
    retain_quality_days: int = Field(400, ge=0)
    """Days for which data-quality results are kept."""
    retain_ledger_days: int = Field(30, ge=0)
    """Days after which rows of the ledger are joined, some hundred into one; counts and ranges stay."""
    retain_training_sets_days: int = Field(30, ge=0)
    """Days for which candidates are kept, and training sets that neither a release bundle nor a candidate names."""
    retain_reports_days: int = Field(90, ge=0)
    """Days for which data-quality reports are kept; the newest of a table always is."""
    retain_runs_days: int = Field(7, ge=0)
    """Days for which Dagster's finished runs are kept; those that materialized something last always are."""

    # -- features
    first_event_date: date = date(2018, 1, 1)
    """First daily partition of the features; earlier events stay in the lake and get no features."""
    feature_memory_mib: int = Field(4096, ge=64)
    """MiB that a build of features or of the online state may take for events and features; the rest goes to a temporary folder."""
    feature_temp: str = ""
    """Folder for what such a build puts away: some 500 bytes per event folded, 700 for the online state. Empty: the system's."""
    feature_snapshots: bool = True
    """Whether a build of features that does not fit into memory keeps what its history leaves, for later builds to go on from."""

    state_fence_s: float = Field(2.0, ge=0.2, le=30)
    """Longest that a rebuild of the online state may keep decisions of the old epoch waiting while the new one takes over."""
    state_rebuild_rate: float = Field(0.0, ge=0)
    """Keys a second that a rebuild of the online state may write and delete; 0: as many as possible."""
    state_auto_rebuild: bool = True
    """Whether the sensor rebuild_lost_state rebuilds an online state that Redis lost; else it only says so."""

    # -- training and release
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where XGBoost trains: auto takes a GPU where one works."""
    seed: int = 7
    """Seed of everything random in training."""

    # -- serving
    backend: Literal["auto", "triton", "onnxruntime"] = "auto"
    """Where the model runs: auto takes Triton where it answers, else ONNX Runtime in process."""
    triton_url: str = ""
    """host:port of Triton's gRPC. Empty: the local platform's, 127.0.0.1:<triton_grpc_port>."""
    triton_repository: str = ""
    """Triton's model repository, shared with the service. Empty: <home>/triton/models."""
    triton_env: Path = Path(".venv-triton")
    """Virtual environment that holds the Triton server of the local platform."""
    serving_workers: int = Field(1, ge=1, le=64)
    """Worker processes of the scoring service."""
    deadline_ms: int = Field(250, ge=10)
    """Time budget of one scoring request; what does not fit in takes the next step of the failure ladder."""
    default_decision: Literal["approve", "review", "decline"] = "review"
    """Decision when no model can be asked and nothing in the contracts folder's fallback.yaml applies."""
    claim_ttl_s: float = Field(7200.0, ge=60)
    """How long a payment's first answer is kept for repeats, about 0.8 KB each; keep it above scorer_max_age_s."""
    scorer_max_age_s: float = Field(3600.0, gt=0)
    """The stream scorer passes over events known for longer than this: history for the lake, or a backlog too old to act on."""

    # -- ports of the local platform (loopback)
    host: str = "127.0.0.1"
    """Address that the local platform's servers listen on."""
    valkey_port: Port = 6390
    """Port of the embedded Valkey."""
    dagster_port: Port = 3000
    """Port of the Dagster UI."""
    dagster_code_port: Port = 3010
    """Port of the Dagster code location (gRPC)."""
    serving_port: Port = 3001
    """Port of the scoring API."""
    reports_port: Port = 3002
    """Port at which data-quality reports are served."""
    exporter_port: Port = 3003
    """Port at which the exporter serves metrics for Prometheus."""
    triton_http_port: Port = 8100
    """Port of Triton's HTTP protocol."""
    triton_grpc_port: Port = 8101
    """Port of Triton's gRPC protocol."""
    triton_metrics_port: Port = 8102
    """Port of Triton's metrics."""

    _check_home = field_validator("home")(checked_folder)
    _check_redis_url = field_validator("redis_url")(checked_redis_address)

    @field_validator("redis_ca", "redis_certificate", "redis_key")
    @classmethod
    def _check_tls_file(cls, file: str, info: ValidationInfo) -> str:
        if file and info.field_name == "redis_key" and not info.data.get("redis_certificate"):
            raise ValueError(
                "a key needs its certificate: SPEARHEAD_REDIS_CERTIFICATE was expected to be set"
            )
        return checked_tls_file(file, info.data["redis_url"]) if "redis_url" in info.data else file

    @cached_property
    def home_path(self) -> Path:
        """`home` as an absolute path."""
        return self.home.expanduser().resolve()

    @cached_property
    def lake_uri(self) -> str:
        """Root of the Delta tables: an absolute path or an s3:// address, without a trailing slash."""
        if "://" in self.lake:
            return self.lake.rstrip("/")
        return str(Path(self.lake).expanduser().resolve() if self.lake else self.home_path / "lake")

    @cached_property
    def bundles_path(self) -> Path:
        """Folder of release bundles and aliases.json."""
        return Path(self.bundles).expanduser().resolve() if self.bundles else self.home_path / "bundles"

    @cached_property
    def reports_path(self) -> Path:
        """Folder of the data-quality reports."""
        return Path(self.reports).expanduser().resolve() if self.reports else self.home_path / "reports"

    @cached_property
    def redis_address(self) -> str:
        """Address of Redis, with its files of TLS: the one that was set, or the embedded Valkey's.

        Raises SettingsError as `port` does: clients take 0 for 6379, a stranger's.
        """
        return with_tls(
            self.redis_url or f"redis://{self.host}:{self.port('valkey_port')}/0",
            ssl_ca_certs=self.redis_ca,
            ssl_certfile=self.redis_certificate,
            ssl_keyfile=self.redis_key,
            ssl_password=self.redis_key_password.get_secret_value(),
        )

    @cached_property
    def triton_address(self) -> str:
        """host:port of Triton's gRPC."""
        return self.triton_url or f"{self.host}:{self.port('triton_grpc_port')}"

    @cached_property
    def dagster_address(self) -> str:
        """Address of the Dagster webserver, without a trailing slash. Raises SettingsError as `port` does."""
        return self.dagster_url.rstrip("/") or f"http://{self.host}:{self.port('dagster_port')}"

    @cached_property
    def triton_repository_path(self) -> Path:
        """Triton's model repository."""
        if self.triton_repository:
            return Path(self.triton_repository).expanduser().resolve()
        return self.home_path / "triton" / "models"

    @property
    def reports_url(self) -> str:
        """Address at which the reports folder is served; the folder itself while the port is still to be chosen."""
        try:
            return f"http://{self.host}:{self.port('reports_port')}"
        except SettingsError:
            return self.reports_path.as_uri()

    def port(self, name: str) -> int:
        """The port at which a server of the local platform is found: the one that is set, or, where that is left to be chosen (0),
        the one that the running platform of this home chose. Raises SettingsError when none runs, or none with that server."""
        from fraud_core.platform.state import chosen_ports

        if found := getattr(self, name):
            return int(found)
        variable, chosen = f"{PREFIX}{name.upper()}", chosen_ports(self.home_path)
        if variable in chosen:
            return chosen[variable]
        lacking = "the platform that runs there has no such server" if chosen else "no platform runs there"
        raise SettingsError(
            f"{variable}=0 leaves the port to `spearhead up`, and it was expected in {self.home_path}; {lacking}. Start the platform, "
            f"set SPEARHEAD_HOME to the home of the one that runs, or set {variable}."
        )

    def changed(self, **changes: Any) -> "Settings":
        """The same settings with other values; `model_copy` would keep what was derived from the old ones."""
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        return load_settings(_env_file=None, **{**kept, **changes})

    def environment(self) -> dict[str, str]:
        """What was set, as environment variables: what a child process needs to see these settings and no others.

        Places are given in full: a child may run in another folder, and what fills in empty variables finds none.
        """
        values = {ENV_FILE_VARIABLE: ""}
        for name in sorted(self.model_fields_set):
            value = getattr(self, name)
            values[f"SPEARHEAD_{name.upper()}"] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
        places = {
            "home": self.home_path,
            "contracts": self.contracts.expanduser().resolve(),
            "triton_env": self.triton_env.expanduser().absolute(),
            "lake": self.lake_uri,
            "bundles": self.bundles_path,
            "reports": self.reports_path,
            "triton_repository": self.triton_repository_path,
        }
        return values | {f"{PREFIX}{name.upper()}": str(place) for name, place in places.items()}


def load_settings(**overrides: Any) -> Settings:
    """Read the environment and `.env`; `overrides` win. Raises SettingsError naming every wrong variable."""
    try:
        return Settings(**{"_env_file": _env_file(), **overrides})
    except ValidationError as error:
        lines = [
            f"SPEARHEAD_{'.'.join(str(part) for part in problem['loc']).upper()}: "
            f"{problem['msg'].removeprefix('Value error, ')}; found {redacted(str(problem['input']))!r}"
            for problem in error.errors()
        ]
        raise SettingsError("Settings are wrong; correct these variables:\n  " + "\n  ".join(lines)) from None


def _env_file() -> Path | None:
    named = os.environ.get(ENV_FILE_VARIABLE)
    if named is None:
        return Path(".env")
    if named and not Path(named).is_file():
        raise SettingsError(
            f"{ENV_FILE_VARIABLE} was expected to name a file of settings; {named} is none. Correct it, or leave it empty to read no file."
        )
    return Path(named) if named else None


def unknown_variables() -> dict[str, str]:
    """Variables of the environment and of the settings file that are no setting, each with the nearest that is one or ""."""
    from dotenv import dotenv_values

    fields = [name.upper() for name in Settings.model_fields]
    file = _env_file()
    named = {name.upper() for name in (*os.environ, *(dotenv_values(file) if file else ()))}
    rest = {name.removeprefix(PREFIX) for name in named - {*VARIABLES_OF_OURS} if name.startswith(PREFIX)}
    near = {name: get_close_matches(name, fields, 1) for name in sorted(rest - {*fields})}
    return {f"{PREFIX}{name}": f"{PREFIX}{found[0]}" if found else "" for name, found in near.items()}

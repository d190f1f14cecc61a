"""The checks that concern the core and the machine: Redis, the lake's folder, Triton, ports, GPU, contracts, disk."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fraud_core.addresses import redacted
from fraud_core.cli.discovery import offered_commands
from fraud_core.errors import ContractError, PlatformError, SettingsError
from fraud_core.platform.checks import Check
from fraud_core.platform.ports import choose_free_ports, describe_holder, is_free
from fraud_core.platform.services import local_services
from fraud_core.platform.state import read_state
from fraud_core.platform.triton import starts_triton, triton_problem
from fraud_core.redis_connection import connect_redis
from fraud_core.redis_connection.address import cluster_address, place, speaks_tls
from fraud_core.settings import Settings, unknown_variables

ENOUGH_DISK_GIB = 5.0


def check_redis(settings: Settings) -> Iterable[Check]:
    """Redis answers, never evicts, and keeps an append-only file; of a cluster, every primary."""
    import redis

    address = redacted(settings.redis_url)
    try:
        found = _redis_servers(settings)
    except (redis.RedisError, SettingsError) as error:
        if settings.redis_url:
            advice = "Start it, or correct SPEARHEAD_REDIS_URL; leave that empty to use the embedded Valkey."
            if speaks_tls(settings.redis_url):
                advice += " By TLS, SPEARHEAD_REDIS_CA, SPEARHEAD_REDIS_CERTIFICATE and SPEARHEAD_REDIS_KEY must fit it."
            yield Check("redis", False, f"{address}: {error}", advice)
        else:
            yield Check("redis", True, "the embedded Valkey is not running", "`spearhead up` starts it.")
        return
    versions, policies, append_only, in_cluster = (_joined(each) for each in zip(*found, strict=True))
    addressed = cluster_address(settings.redis_url) is not None
    many = f", a cluster of {len(found)}" if addressed else ""
    yield Check("redis", True, f"{address or 'the embedded Valkey'} answers (version {versions}{many})")
    if in_cluster != "0" and not addressed:
        yield Check(
            "redis cluster",
            False,
            "it is one node of a cluster and keeps a part of the keys only",
            f"SPEARHEAD_REDIS_URL={'rediss' if speaks_tls(settings.redis_url) else 'redis'}+cluster://{place(settings.redis_url).partition('/')[0]}",
        )
    if speaks_tls(settings.redis_url):
        own = f"our own is {settings.redis_certificate}" if settings.redis_certificate else "we show none"
        yield Check(
            "redis tls", True, f"its certificate fits {settings.redis_ca or 'a CA of the system'}; {own}"
        )
    yield Check(
        "redis eviction",
        policies == "noeviction",
        f"maxmemory-policy is {policies}",
        "CONFIG SET maxmemory-policy noeviction: any other policy may drop events and state without a word.",
    )
    yield Check(
        "redis durability",
        append_only == "yes",
        f"appendonly is {append_only}",
        "CONFIG SET appendonly yes: without it, the end of the process loses events that were acknowledged.",
    )


def _redis_servers(settings: Settings) -> list[tuple[str, str, str, str]]:
    """Version, eviction policy, append-only file and whether it is in a cluster, of each server that keeps keys."""
    client: Any = connect_redis(settings.redis_address, socket_connect_timeout=2, socket_timeout=2)
    try:
        is_cluster = cluster_address(settings.redis_address) is not None
        nodes = (
            [client.get_redis_connection(node) for node in client.get_primaries()] if is_cluster else [client]
        )
        return [
            (
                str(node.info("server")["redis_version"]),
                str(node.config_get("maxmemory-policy").get("maxmemory-policy")),
                str(node.config_get("appendonly").get("appendonly")),
                str(node.info("cluster").get("cluster_enabled", 0)),
            )
            for node in nodes
        ]
    finally:
        client.close()


def _joined(values: Iterable[str]) -> str:
    return " and ".join(sorted(set(values)))


def check_lake(settings: Settings) -> Iterable[Check]:
    """A path lake can be written, holds its marker, and lies on a disk with room."""
    if "://" in settings.lake_uri:
        return  # the store's own probe belongs to the tier that writes it
    root = Path(settings.lake_uri)
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if settings.lake_marker:
        marker = root / settings.lake_marker
        yield Check(
            "lake marker",
            marker.exists(),
            f"{marker} {'is there' if marker.exists() else 'is missing'}",
            "Mount the volume; if it is mounted, create that file at its root once.",
        )
    writable = _writable(existing)
    yield Check(
        "lake",
        writable,
        f"{root} {'can be written' if writable else 'cannot be written'}",
        f"Give this user write access to {existing}, or set SPEARHEAD_LAKE to a place that has it.",
    )
    free_gib = shutil.disk_usage(existing).free / 2**30
    yield Check(
        "disk",
        free_gib >= ENOUGH_DISK_GIB,
        f"{free_gib:.0f} GiB free under {existing}",
        f"Keep at least {ENOUGH_DISK_GIB:.0f} GiB free, or move SPEARHEAD_HOME and SPEARHEAD_LAKE to a larger disk.",
    )


def check_triton(settings: Settings) -> Iterable[Check]:
    """The Triton server of the local platform can run, where it is wanted."""
    advice = "`make install` puts it into .venv-triton on Linux x86-64 with Python 3.11; ONNX Runtime in process scores without it."
    try:
        wanted = starts_triton(settings)
    except PlatformError as error:
        yield Check("triton", False, str(error), advice)
        return
    if settings.triton_url:
        yield Check("triton", True, f"an own server is set: {settings.triton_url}")
    elif settings.backend == "onnxruntime":
        yield Check("triton", True, "not wanted: SPEARHEAD_BACKEND is onnxruntime")
    else:
        found = triton_problem(settings) or f"installed in {settings.triton_env}"
        yield Check("triton", wanted, found, advice, required=False)


def check_ports(settings: Settings) -> Iterable[Check]:
    """Every port is free, or held by this home's own platform."""
    state = read_state(settings.home_path)
    if state is not None and state.running:
        yield Check("ports", True, "held by the platform that runs")
        return
    try:
        services = local_services(choose_free_ports(settings), offered_commands())
    except PlatformError:
        return  # what is wrong is said by the check of what is wrong
    taken = []
    for service in services:
        for port in service.ports:
            if port.number and not is_free(settings.host, port.number):
                holder = describe_holder(port.number) or "another process"
                taken.append(f"{port.number} ({service.name}) is held by {holder}: {port.setting}")
    yield Check(
        "ports",
        not taken,
        "; ".join(taken) or f"all free on {settings.host}",
        "Stop what holds them, or set the named variables to other ports (0 takes a free one).",
    )


def check_gpu(settings: Settings) -> Iterable[Check]:
    """A GPU is there and XGBoost was built for it; only `device = cuda` demands one."""
    required = settings.device == "cuda"
    name = _nvidia_gpu()
    if name is None:
        yield Check(
            "gpu", not required, "none (nvidia-smi finds no GPU)", "Set SPEARHEAD_DEVICE=cpu or auto."
        )
        return
    built = _xgboost_with_cuda()
    yield Check(
        "gpu",
        built or not required,
        f"{name}; XGBoost {'can' if built else 'cannot'} use it",
        "Install the gpu build: make install REQUIREMENTS=requirements/gpu.txt",
    )


def check_contracts(settings: Settings) -> Iterable[Check]:
    """The contracts folder loads."""
    from fraud_core.contracts import load_contracts

    try:
        contracts = load_contracts(settings.contracts)
    except ContractError as error:
        yield Check(
            "contracts", False, str(error), "Correct the file, or set SPEARHEAD_CONTRACTS to another folder."
        )
        return
    entities = ", ".join(contracts.transactions.entities)
    yield Check(
        "contracts",
        True,
        f"{settings.contracts}: version {contracts.transactions.version}, entities {entities}",
    )


def check_settings(_settings: Settings) -> Iterable[Check]:
    """No variable is misspelt: one that is no setting has no effect, which nobody would notice."""
    unknown = unknown_variables()
    told = [f"{name} (did you mean {near}?)" if near else name for name, near in unknown.items()]
    yield Check(
        "settings",
        not unknown,
        f"these variables are no settings and have no effect: {', '.join(told)}" if unknown else "all known",
        "Correct or remove them; `spearhead settings` lists those that there are.",
        required=False,
    )


def _writable(folder: Path) -> bool:
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _nvidia_gpu() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.strip().splitlines()
    return lines[0] if lines else None


def _xgboost_with_cuda() -> bool:
    # In a process of its own: the import costs a second, and a broken driver may end the process.
    question = "import json, xgboost; print(json.dumps(bool(xgboost.build_info().get('USE_CUDA'))))"
    answer = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, timeout=60, check=False
    )
    return answer.returncode == 0 and bool(json.loads(answer.stdout))

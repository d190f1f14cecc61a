"""Starting the server: its backend folder, its command line, its process.

Triton binds 0.0.0.0 unless told otherwise, hence the three addresses. Models are loaded and unloaded by the scoring
service only (explicit mode); readiness means the server, not a model, so that one failed load harms no other.
"""

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy2, rmtree

from fraud_core.errors import PlatformError, PortInUse
from fraud_core.platform.ports import describe_holder, is_free
from fraud_core.settings import Settings
from fraud_serving.triton_server.environment import TritonEnvironment

BACKEND = "onnxruntime"
BACKEND_SOURCE = Path(__file__).with_name("onnxruntime_backend.py")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (Triton's own place for tensors, not ours to choose)
SHM_BYTES = 1 << 20


def prepare_backends(environment: TritonEnvironment, folder: Path) -> Path:
    """Lay out `folder` as Triton's backend directory: the wheel's python backend and our `onnxruntime` on top of it.

    The wheel's files stay as they were installed; the folder is rebuilt at each start.
    """
    rmtree(folder, ignore_errors=True)
    python = folder / "python"
    python.mkdir(parents=True)
    for file in (environment.distribution / "backends" / "python").iterdir():
        if file.name != environment.stub.name:
            copy2(file, python / file.name)  # a link would be refused: it escapes the backend directory
    stub = python / environment.stub.name
    copy2(environment.stub, stub)
    stub.chmod(0o755)
    own = folder / BACKEND
    own.mkdir()
    copy2(BACKEND_SOURCE, own / "model.py")
    (own / "site-packages").write_text(str(environment.site_packages), encoding="utf-8")
    return folder


def server_command(
    environment: TritonEnvironment, settings: Settings, *, threads: int = 4
) -> tuple[list[str], dict[str, str]]:
    """Command line and extra environment variables of the server for these settings; prepares its folders.

    Raises PortInUse before anything is touched: the folders and the shared memory may be those of a server that runs.
    """
    _require_free_ports(settings)
    backends = prepare_backends(environment, settings.triton_repository_path.parent / "backends")
    settings.triton_repository_path.mkdir(parents=True, exist_ok=True)
    environment.server.chmod(0o755)
    prefix = f"spearhead_triton_{settings.triton_grpc_port}_"
    for leftover in SHARED_MEMORY.glob(f"{prefix}*"):  # a killed server cannot remove its own
        leftover.unlink(missing_ok=True)
    options = {
        "model-repository": str(settings.triton_repository_path),
        "model-control-mode": "explicit",
        "backend-directory": str(backends),
        "backend-config": f"python,shm-region-prefix-name={prefix}",
        "http-address": settings.host,
        "http-port": str(settings.triton_http_port),
        "http-thread-count": "1",
        "grpc-address": settings.host,
        "grpc-port": str(settings.triton_grpc_port),
        "metrics-address": settings.host,
        "metrics-port": str(settings.triton_metrics_port),
        "model-load-thread-count": str(threads),
        "strict-readiness": "false",
        "exit-on-error": "false",
        "exit-timeout-secs": "5",
        "log-verbose": "0",
    }
    command = [str(environment.server), *(f"--{name}={value}" for name, value in options.items())]
    command.append(f"--backend-config=python,shm-default-byte-size={SHM_BYTES}")
    return command, {"LD_LIBRARY_PATH": environment.library_path, "OMP_NUM_THREADS": "1"}


def _require_free_ports(settings: Settings) -> None:
    for name in ("triton_http_port", "triton_grpc_port", "triton_metrics_port"):
        port = getattr(settings, name)
        if not is_free(settings.host, port):
            raise PortInUse(
                f"Triton needs port {port} on {settings.host}, which {describe_holder(port) or 'another process'} holds. Stop that "
                f"(`spearhead down` for a platform of this kind), or set SPEARHEAD_{name.upper()} to a free port."
            )


@dataclass(frozen=True)
class TritonServer:
    """A running server that was started here."""

    address: str
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stop this very process; does nothing when it is gone already."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout_s)


def start_triton(
    environment: TritonEnvironment, settings: Settings, *, timeout_s: float = 60.0
) -> TritonServer:
    """Start the server as a child and wait until it is live.

    Raises PlatformError with the end of its log when it ends or stays silent.
    """
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    command, extra = server_command(environment, settings)
    log = settings.triton_repository_path.parent / "triton.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=extra, stdout=output, stderr=subprocess.STDOUT)
    address = f"{settings.host}:{settings.triton_grpc_port}"
    server = TritonServer(address, log, process)
    deadline = time.monotonic() + timeout_s
    with InferenceServerClient(address) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.is_server_live(client_timeout=2.0):
                    return server
            except InferenceServerException:
                time.sleep(0.05)
    server.stop()
    tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
    raise PlatformError(
        f"Triton did not start within {timeout_s:g} s at {address}; the end of {log}:\n{tail}"
    )

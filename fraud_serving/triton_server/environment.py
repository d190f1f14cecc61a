"""Where the Triton wheel is installed, and whether it can run on this machine."""

import platform
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fraud_core.errors import ServingError
from fraud_core.settings import Settings

# Asked of the environment's own interpreter: it may be another one than ours.
PROBE = (
    "import sys, sysconfig;"
    "print('%d.%d' % sys.version_info[:2], sysconfig.get_path('platlib'), sysconfig.get_config_var('LIBDIR'),"
    " sysconfig.get_config_var('INSTSONAME'), sep='\\n')"
)
FALLBACK = "Scoring runs on ONNX Runtime in process meanwhile."


@dataclass(frozen=True)
class TritonEnvironment:
    """A virtual environment that holds a Triton server able to run here."""

    path: Path
    python_version: str
    site_packages: Path
    libpython_dir: Path

    @cached_property
    def distribution(self) -> Path:
        """Folder of the server inside the wheel: bin, backends, python_backend_stubs."""
        return self.site_packages / "pytriton" / "tritonserver"

    @property
    def library_path(self) -> str:
        """Where the stub finds libpython, and the libraries that the wheel carries: copied, it loses its way to them."""
        return f"{self.libpython_dir}:{self.site_packages / 'nvidia_pytriton.libs'}"

    @property
    def server(self) -> Path:
        """The server binary."""
        return self.distribution / "bin" / "tritonserver"

    @property
    def stub(self) -> Path:
        """The process that runs Python models, built for this environment's Python."""
        return self.distribution / "python_backend_stubs" / self.python_version / "triton_python_backend_stub"


def find_environment(settings: Settings) -> TritonEnvironment:
    """The environment at `settings.triton_env`.

    Raises ServingError that names what is missing: the platform, the environment, the wheel or libpython.
    """
    system = f"{platform.system()} {platform.machine()}"
    if system != "Linux x86_64":
        raise ServingError(f"Triton's wheel is built for Linux x86_64, this machine is {system}. {FALLBACK}")
    path = settings.triton_env.expanduser().absolute()
    python = path / "bin" / "python"
    if not python.exists():
        raise ServingError(
            f"No Triton environment at {path}. Run `spearhead triton install`, or set SPEARHEAD_TRITON_ENV. {FALLBACK}"
        )
    answer = subprocess.run(
        [str(python), "-c", PROBE], capture_output=True, text=True, check=False, timeout=30
    )
    if answer.returncode:
        raise ServingError(f"{python} does not start: {answer.stderr.strip()[-300:]}. {FALLBACK}")
    version, site_packages, libdir, soname = answer.stdout.splitlines()
    environment = TritonEnvironment(path, version, Path(site_packages), Path(libdir))
    if not environment.server.exists():
        raise ServingError(
            f"No tritonserver under {environment.distribution}. Run `spearhead triton install`. {FALLBACK}"
        )
    if not environment.stub.exists():
        raise ServingError(
            f"Triton's wheel has no stub for Python {version} (expected {environment.stub}). "
            f"Make the environment with Python 3.11. {FALLBACK}"
        )
    if not (environment.libpython_dir / soname).exists():
        raise ServingError(
            f"Triton's Python stub needs {soname}, which is not in {libdir}: this Python was built without a shared library. "
            f"Make the environment with one that has it (Debian: libpython{version}; pyenv: --enable-shared). {FALLBACK}"
        )
    return environment

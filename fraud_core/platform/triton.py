"""Whether the platform starts a Triton of its own: asked of the tier that owns it, as a command, for nothing here imports it."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from fraud_core.errors import PlatformError
from fraud_core.platform.process import run_to_end
from fraud_core.settings import Settings, load_settings

CHECK_TIMEOUT_S = 60.0
RUNS_HERE = "installed:"
"""What `spearhead triton check` prints first where Triton can run here, whether or not one answers."""


def wants_triton(settings: Settings) -> bool:
    """Whether these settings ask for a local Triton where there can be one."""
    return not settings.triton_url and settings.backend != "onnxruntime"


def starts_triton(settings: Settings) -> bool:
    """Whether the platform starts one. Raises PlatformError when it is demanded and cannot run here."""
    if not wants_triton(settings):
        return False
    problem = triton_problem(settings)
    if problem and settings.backend == "triton":
        raise PlatformError(
            f"SPEARHEAD_BACKEND=triton expects a Triton server that can run here. {problem}\nRun `make install` (Linux x86-64, "
            "with Python 3.11), point SPEARHEAD_TRITON_URL at a Triton that runs, or use SPEARHEAD_BACKEND=auto."
        )
    return not problem


def triton_problem(settings: Settings) -> str:
    """Why the Triton server of `settings.triton_env` cannot run here; empty when it can."""
    environment = settings.triton_env.expanduser().absolute()
    if not (environment / "bin" / "python").exists():
        return f"There is no Triton server in {environment}."
    return _problem_of(environment)


@cache  # a second of work, asked for by several who start one platform
def _problem_of(environment: Path) -> str:
    asked = load_settings(_env_file=None, triton_env=environment).environment()
    try:
        answer = run_to_end(
            [sys.executable, "-m", "fraud_core.cli", "triton", "check"], asked, CHECK_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"The Triton server in {environment} did not answer within {CHECK_TIMEOUT_S:.0f} s."
    if answer.stdout.startswith(RUNS_HERE):
        return ""
    return answer.stderr.strip().removeprefix("error:").strip().partition("\n")[0]

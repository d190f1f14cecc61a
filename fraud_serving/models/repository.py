"""Triton's model repository: a folder per bundle version, written for the C++ backend and for ours alike."""

import os
import shutil
import tempfile
from pathlib import Path

from fraud_core.release import Bundle
from fraud_core.release.bundle import MODEL_ONNX
from fraud_serving.models.backend import INPUT, OUTPUT

# No queue delay: 200 µs of it cost 0.25 ms per single request and gain nothing at our batch sizes.
CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: 1024
input [ {{ name: "{input}", data_type: TYPE_FP32, dims: [ {features} ] }} ]
output [ {{ name: "{output}", data_type: TYPE_FP32, dims: [ 2 ] }} ]
instance_group [ {{ count: 1, kind: KIND_CPU }} ]
dynamic_batching {{ }}
parameters {{ key: "intra_op_thread_count", value: {{ string_value: "1" }} }}
"""


def publish(bundle: Bundle, repository: Path) -> None:
    """Put a bundle's model into the repository as `<version>/1/model.onnx`; complete or absent, never half."""
    final = repository / bundle.version
    if (final / "config.pbtxt").is_file():
        return
    repository.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{bundle.version}-", dir=repository))
    try:
        (temporary / "1").mkdir()
        (temporary / "1" / "model.onnx").write_bytes(bundle.read(MODEL_ONNX))
        config = CONFIG.format(
            name=bundle.version, input=INPUT, output=OUTPUT, features=len(bundle.manifest.features)
        )
        (temporary / "config.pbtxt").write_text(config, encoding="utf-8")
        temporary.chmod(0o755)
        try:
            os.rename(temporary, final)  # noqa: PTH104 - Path.rename is the same; this one says what it relies on
        except OSError:
            if not (final / "config.pbtxt").is_file():  # else another worker was first, with the same content
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def withdraw(version: str, repository: Path) -> None:
    """Remove a version's folder from the repository."""
    shutil.rmtree(repository / version, ignore_errors=True)

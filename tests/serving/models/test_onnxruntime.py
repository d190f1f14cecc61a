"""A model in this process."""

import asyncio
from pathlib import Path

import pytest

from fraud_serving.models.backend import BackendFailed
from fraud_serving.models.onnxruntime import OnnxRuntimeBackend
from tests.serving.samples import make_bundle


def test_bytes_that_are_no_model_are_the_backends_failure_and_no_crash(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, files={"model.onnx": b"no model"})
    with pytest.raises(BackendFailed, match=r"model\.onnx cannot be used"):
        asyncio.run(OnnxRuntimeBackend().load(bundle))

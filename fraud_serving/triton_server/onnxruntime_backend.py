"""Triton's backend `onnxruntime`, python-based: serves <version>/model.onnx on the CPU.

It stands in for the C++ backend of the same name, which is in no wheel, so that one model repository serves the local
platform and production. Runs inside Triton's stub: an isolated interpreter that knows neither this project nor any
virtual environment, hence the path in the file `site-packages` beside this one.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, Path(__file__).with_name("site-packages").read_text(encoding="utf-8").strip())

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # only inside the stub


class TritonPythonModel:
    """One loaded model version."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session: one thread per instance, because batches of a few rows gain nothing from more."""
        config = json.loads(args["model_config"])
        file = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [output["name"] for output in config["output"]]
        pb_utils.Logger.log_info(f"loaded {path} with onnxruntime {onnxruntime.__version__}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests that Triton batched, as one run of the session."""
        parts = {
            name: [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self._inputs
        }
        sizes = [len(part) for part in parts[self._inputs[0]]]
        feeds = {name: part[0] if len(part) == 1 else np.concatenate(part) for name, part in parts.items()}
        results = self._session.run(self._outputs, feeds)
        responses, start = [], 0
        for size in sizes:
            tensors = [
                pb_utils.Tensor(name, np.ascontiguousarray(result[start : start + size]))
                for name, result in zip(self._outputs, results, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
            start += size
        return responses

    def finalize(self) -> None:
        del self._session

"""A real Triton on this machine, from wheels: no container, no root.

The server binary comes from the wheel `nvidia-pytriton`, which lives in an environment of its own (`settings.triton_env`)
because it wants numpy < 2. The C++ onnxruntime backend is in no wheel, so a python-based backend stands under the same
name, `onnxruntime`: a model repository written for production loads unchanged.
"""

from fraud_serving.triton_server.environment import TritonEnvironment, find_environment
from fraud_serving.triton_server.server import TritonServer, server_command, start_triton

__all__ = ["TritonEnvironment", "TritonServer", "find_environment", "server_command", "start_triton"]

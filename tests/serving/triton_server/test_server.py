"""Starting Triton beside one that runs."""

import socket
from pathlib import Path

import pytest

from fraud_core.errors import PortInUse
from fraud_core.settings import load_settings
from fraud_serving.triton_server import TritonEnvironment, server_command


def test_a_taken_port_is_refused_before_any_file_of_the_server_there_is_touched(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        settings = load_settings(_env_file=None, home=tmp_path, triton_http_port=port, triton_grpc_port=port)
        live = settings.triton_repository_path.parent / "backends" / "python"
        live.mkdir(parents=True)
        region = Path(f"/dev/shm/spearhead_triton_{port}_region")
        region.touch()
        try:
            with pytest.raises(PortInUse, match="SPEARHEAD_TRITON_HTTP_PORT"):
                server_command(TritonEnvironment(tmp_path, "3.11", tmp_path, tmp_path), settings)
            assert live.exists()
            assert region.exists()
        finally:
            region.unlink(missing_ok=True)

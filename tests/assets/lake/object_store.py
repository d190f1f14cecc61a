"""A real S3 server for tests (moto), in a process of its own: delta-rs may hold the interpreter's lock while it waits."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.exceptions import EndpointConnectionError

from fraud_core.free_ports import free_ports
from fraud_core.settings import Settings, load_settings


def in_store(endpoint: str, home: Path, **more: object) -> Settings:
    """Settings of a lake in the store, at a place that nobody else has."""
    return load_settings(
        _env_file=None,
        **{
            "home": home,
            "lake": f"s3://lake/{uuid.uuid4().hex}",
            "s3_endpoint": endpoint,
            "s3_access_key": "key",
            "s3_secret_key": "secret",
            **more,
        },
    )


@contextmanager
def object_server() -> Iterator[str]:
    """Address of a running server that holds the bucket `lake`."""
    [port] = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                client.create_bucket(Bucket="lake")
                break
            except EndpointConnectionError:
                assert time.monotonic() < deadline, "moto did not come up"
                time.sleep(0.1)
        client.close()
        yield endpoint
    finally:
        server.terminate()
        server.wait(60)

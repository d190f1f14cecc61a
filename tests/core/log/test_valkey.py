"""The embedded server: starts, keeps what it was given, and is stopped by its own pid."""

from pathlib import Path

import psutil
import pytest
import redis

from fraud_core.errors import PortInUse
from fraud_core.log.valkey import start_valkey, stop_valkey

pytestmark = pytest.mark.valkey


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    first = start_valkey(tmp_path, 0)
    with redis.Redis.from_url(first.url) as client:
        client.xadd("stream", {"a": "1"}, id="5-1")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    first.stop()
    assert not psutil.pid_exists(first.pid)
    second = start_valkey(tmp_path, 0)
    try:
        with redis.Redis.from_url(second.url) as client:
            assert client.xrange("stream") == [(b"5-1", {b"a": b"1"})]
    finally:
        second.stop()


def test_a_taken_port_is_refused_with_the_setting_to_change(tmp_path: Path) -> None:
    first = start_valkey(tmp_path / "a", 0)
    try:
        with pytest.raises(PortInUse, match="SPEARHEAD_VALKEY_PORT"):
            start_valkey(tmp_path / "b", first.port)
    finally:
        first.stop()


def test_stopping_a_folder_without_a_server_does_nothing(tmp_path: Path) -> None:
    assert stop_valkey(tmp_path) is False

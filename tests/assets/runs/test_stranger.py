"""A Dagster that listens on the port and is not ours is recognised, whatever it is."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraud_assets.runs.address import Address
from fraud_assets.runs.client import DagsterClient
from fraud_core.cli import app
from fraud_core.free_ports import free_ports
from fraud_core.settings import Settings, load_settings

LOCATION = """
import dagster as dg
from fraud_assets.runs.address import Address
definitions = dg.Definitions(resources={{"address": Address(lake={lake!r})}})
"""


@contextmanager
def dagster(folder: Path, location: str, lake: str) -> Iterator[int]:
    """A real webserver with one small code location; yields its port."""
    folder.mkdir()
    (folder / "location.py").write_text(LOCATION.format(lake=lake), encoding="utf-8")
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    workspace = f"load_from:\n- python_file: {{relative_path: location.py, location_name: {location}}}\n"
    (folder / "workspace.yaml").write_text(workspace, encoding="utf-8")
    [port] = free_ports(1)
    command = [
        "-m",
        "dagster_webserver",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-w",
        str(folder / "workspace.yaml"),
    ]
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "DAGSTER_HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        client = DagsterClient(load_settings(_env_file=None, dagster_port=port))
        deadline = time.monotonic() + 280
        while not client.reachable():
            assert process.poll() is None, "the webserver ended"
            assert time.monotonic() < deadline, "the webserver does not answer"
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.platform
def test_a_dagster_is_asked_which_lake_it_works_on(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, home=tmp_path / "home")
    with dagster(tmp_path / "dagster", "spearhead", settings.lake_uri) as port:
        ours = settings.changed(dagster_port=port)
        assert DagsterClient(ours).stranger() is None
        said = DagsterClient(ours.changed(home=tmp_path / "another")).stranger()
    assert f"works on another lake: {settings.lake_uri} instead of" in str(said)


@pytest.mark.slow
@pytest.mark.platform
def test_a_dagster_of_another_project_is_a_stranger(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, home=tmp_path / "home")
    with dagster(tmp_path / "dagster", "another", settings.lake_uri) as port:
        said = DagsterClient(settings.changed(dagster_port=port)).stranger()
    assert "has no code location 'spearhead'" in str(said)


@pytest.fixture
def answering() -> Iterator[Callable[[dict[str, object]], int]]:
    """Starts a server that calls itself a Dagster and answers each operation as told; returns its port."""
    servers = []

    def start(answers: dict[str, object]) -> int:
        class Handler(BaseHTTPRequestHandler):
            def _say(self, what: object) -> None:
                body = json.dumps(what).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self._say({"dagster_webserver_version": "1"})

            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._say({"data": {"it": next(value for name, value in answers.items() if name in asked)}})

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def our_own(tmp_path: Path, **statuses: int) -> tuple[Settings, dict[str, object]]:
    settings = load_settings(_env_file=None, home=tmp_path / "home")
    backfill = {
        "status": "COMPLETED_SUCCESS",
        "error": None,
        "assetBackfillData": {"assetBackfillStatuses": [statuses]} if statuses else None,
    }
    values = [{"key": "lake", "value": json.dumps(settings.lake_uri)}]
    return settings, {
        "topLevelResourceDetailsOrError": {"configuredValues": values},
        "launchPartitionBackfill": {"backfillId": "b1"},
        "partitionBackfillOrError": backfill,
    }


@pytest.mark.parametrize("counted", [0, 1])
def test_a_backfill_that_targeted_fewer_days_than_asked_has_failed(
    tmp_path: Path,
    answering: Callable[[dict[str, object]], int],
    monkeypatch: pytest.MonkeyPatch,
    counted: int,
) -> None:
    few = {"numPartitionsTargeted": counted, "numPartitionsMaterialized": counted, "numPartitionsFailed": 0}
    settings, answers = our_own(tmp_path, **(few if counted else {}))
    for name, value in settings.changed(dagster_port=answering(answers)).environment().items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["backfill", "features", "--from", "2024-01-01", "--to", "2024-01-03"])
    assert done.exit_code == 1
    assert f"{counted} of 3 partitions materialized, {counted} targeted" in done.output + str(done.exception)


def test_a_strangers_dagster_is_never_told_to_run_a_job(
    tmp_path: Path, answering: Callable[[dict[str, object]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {
        "topLevelResourceDetailsOrError": {"message": "not found", "__typename": "ResourceNotFoundError"}
    }
    settings = load_settings(_env_file=None, home=tmp_path / "home", dagster_port=answering(nothing))
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    refused = CliRunner().invoke(app, ["materialize", "model_release"])
    assert refused.exit_code == 1
    assert "no code location" in refused.output + str(refused.exception)


def test_the_graph_says_which_lake_it_works_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fraud_assets.definitions import definitions

    monkeypatch.setenv("SPEARHEAD_LAKE", str(tmp_path / "lake"))
    address = definitions().resources["address"]
    assert isinstance(address, Address)
    assert address.lake == str(tmp_path / "lake")

"""A platform that really runs, spoken to as a user does: commands, HTTP, and a look into its tables."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from fraud_assets.lake import Lake, open_lake
from fraud_assets.runs.client import DagsterClient
from fraud_core.platform.process import marked
from fraud_core.platform.state import PlatformState, read_state
from fraud_core.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
SPEARHEAD = [sys.executable, "-m", "fraud_core.cli"]
STARTED = "Executing steps in process (pid: "


class RunningPlatform:
    """One platform in a home of its own, on ports that were free."""

    def __init__(self, home: Path, **settings: object) -> None:
        home.mkdir(parents=True)
        self.home = home
        ports = {name: 0 for name in Settings.model_fields if name.endswith("_port")}
        chosen = {"home": home, "triton_env": ROOT / ".venv-triton", **ports, **settings}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SPEARHEAD_")},
            **{f"SPEARHEAD_{name.upper()}": str(value) for name, value in chosen.items()},
        }
        self._chosen = chosen

    def up(self) -> None:
        """`spearhead up -d`; afterwards every command and `settings` know the ports that were chosen."""
        self.spearhead("up", "-d")
        ports = {name: port for service in self.state.services for name, port in service.ports.items()}
        self.environment |= {name: str(port) for name, port in ports.items()}
        own = {name.removeprefix("SPEARHEAD_").lower(): port for name, port in ports.items()}
        self.settings = load_settings(_env_file=None, **{**self._chosen, **own})
        self.dagster = DagsterClient(self.settings)
        self.lake: Lake = open_lake(self.settings)

    @property
    def state(self) -> PlatformState:
        found = read_state(self.home)
        assert found is not None, "the platform wrote no state"
        return found

    def spearhead(
        self, *arguments: str, timeout_s: float = 300, codes: tuple[int, ...] = (0,), **settings: object
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; its exit code must be among `codes`."""
        done = subprocess.run(
            [*SPEARHEAD, *arguments],
            env=self._with(settings),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode in codes, (
            f"spearhead {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done

    def json(self, *arguments: str, codes: tuple[int, ...] = (0,), timeout_s: float = 300) -> dict[str, Any]:
        """What a command with --json printed."""
        printed = self.spearhead(*arguments, "--json", codes=codes, timeout_s=timeout_s).stdout
        found: dict[str, Any] = json.loads(printed) if printed else {}
        return found

    @contextmanager
    def background(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A command beside the block, which ends at the block's end at the latest."""
        process = subprocess.Popen(
            [*SPEARHEAD, *arguments],
            env=self._with({}),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=120)

    def http(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and parsed answer of the scoring service; 0 when nobody answers."""
        url = f"http://{self.settings.host}:{self.settings.serving_port}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read())
        except OSError as error:
            return 0, str(error)

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Runs of a job, newest first: runId and status."""
        query = """query($job: String!) { runsOrError(filter: {pipelineName: $job}) {
          ... on Runs { results { runId status } } ... on Error { message } } }"""
        found: list[dict[str, Any]] = self.dagster.query(query, {"job": job})["results"]
        return found

    def messages(self, run_id: str) -> list[str]:
        """What a run logged."""
        query = """query($id: ID!) { logsForRun(runId: $id) {
          ... on EventConnection { events { ... on MessageEvent { message } } } ... on Error { message } } }"""
        return [event.get("message", "") for event in self.dagster.query(query, {"id": run_id})["events"]]

    def worker(self, run_id: str) -> psutil.Process | None:
        """The process in which a run executes its steps, once it does."""
        for message in self.messages(run_id):
            if STARTED in message:
                return psutil.Process(int(message.partition(STARTED)[2].partition(")")[0]))
        return None

    def materialized(self, asset: str) -> dict[str, int]:
        """The numbers that the latest materialization of an asset reported."""
        query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
          assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""
        found = self.dagster.query(query, {"key": {"path": [asset]}})["assetMaterializations"]
        return {
            entry["label"]: int(entry["intValue"])
            for materialization in found
            for entry in materialization["metadataEntries"]
            if entry.get("intValue") is not None
        }

    @contextmanager
    def suspended(self, service: str) -> Iterator[None]:
        """Within, a service does nothing."""
        [pid] = [each.pid for each in self.state.services if each.name == service]
        process = psutil.Process(pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def processes(self) -> list[psutil.Process]:
        """Everything that the platform started and that still runs."""
        return marked(self.state.token)

    def _with(self, settings: Mapping[str, object]) -> dict[str, str]:
        return self.environment | {
            f"SPEARHEAD_{name.upper()}": str(value) for name, value in settings.items()
        }


def wait_until(
    what: str,
    condition: Callable[[], bool],
    timeout_s: float,
    poll_s: float = 0.5,
    *,
    found: Callable[[], object] = lambda: "",
) -> None:
    """Wait for a condition; fails, naming it and what was found instead, when it does not come true within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} was expected within {timeout_s:g} s; {found()}"
        time.sleep(poll_s)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")

"""Ends Dagster's runs before its processes: as *Terminate* in the UI does, so that an ordinary stop leaves no failed run.

Dagster takes a signal that nobody announced for a failure. A run that it was told to end is CANCELED, or a SUCCESS where it
finishes its work in hand. It cannot be told of a run whose process is still starting, for which is waited. Queued
runs stay queued: the next start runs them.
"""

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

POLL_S = 0.2
ANSWER_S = 3.0
START_S = 12.0
"""How long a run may take to reach the point at which Dagster can be told to end it."""
END_S = 20.0
"""How long all runs may take to end; the rest is marked as canceled and ended with the processes."""
ATTEMPTS = 3

_UNFINISHED = """{ runsOrError(filter: {statuses: [NOT_STARTED, STARTING, STARTED, CANCELING]}) {
  ... on Runs { results { runId status repositoryOrigin { repositoryLocationName } } } } }"""

_TERMINATE = """mutation($runs: [String!]!, $policy: TerminateRunPolicy!) {
  terminateRuns(runIds: $runs, terminatePolicy: $policy) { __typename } }"""


@dataclass(frozen=True)
class EndRuns:
    """Ends the runs of the Dagster whose webserver listens at `url`; its daemon must have ended, or it starts others."""

    url: str

    def __call__(self, hurried: Callable[[], bool]) -> None:
        """Return when no run is under way, after END_S, or soon after `hurried` says so. Never raises."""
        began, told, failed = time.monotonic(), set[str](), 0
        while failed < ATTEMPTS:
            waited = time.monotonic() - began
            late = hurried() or waited > END_S
            try:
                runs = self._unfinished()
                started = {run for run, status in runs.items() if status == "STARTED"} - told
                starting = {run for run, status in runs.items() if status in ("NOT_STARTED", "STARTING")}
                if late:
                    self._terminate(set(runs), "MARK_AS_CANCELED_IMMEDIATELY")
                elif waited > START_S:
                    self._terminate(starting, "MARK_AS_CANCELED_IMMEDIATELY")
                self._terminate(started, "SAFE_TERMINATE")
            except (OSError, ValueError, LookupError, TypeError):
                failed += 1  # a webserver that is gone or hangs: the runs end by their signals, as failures
                continue
            told |= started
            failed = 0
            if late or not runs:
                return
            time.sleep(POLL_S)

    def _unfinished(self) -> dict[str, str]:
        """Status of each run that the platform's own code server has under way."""
        found = self._ask(_UNFINISHED, {})["runsOrError"]["results"]
        # A run without an origin belongs to a command that runs assets in its own process, and outlives the platform.
        return {run["runId"]: run["status"] for run in found if run["repositoryOrigin"]}

    def _terminate(self, runs: set[str], policy: str) -> None:
        if runs:
            self._ask(_TERMINATE, {"runs": sorted(runs), "policy": policy})

    def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310  (http:// addresses of our own)
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310 (http:// addresses of our own)
            found: dict[str, Any] = json.load(answer)["data"]
            return found

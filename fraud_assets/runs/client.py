"""A running Dagster, spoken to over its GraphQL endpoint."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fraud_core.errors import PlatformError, SettingsError
from fraud_core.settings import Settings

ADDRESS = "address"  # fraud_assets.runs.address; not imported, because that costs the import of Dagster
LOCATION = "spearhead"
REPOSITORY = "__repository__"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

_ADDRESS = """
query($selector: ResourceSelector!) { topLevelResourceDetailsOrError(resourceSelector: $selector) {
  __typename
  ... on Error { message }
  ... on ResourceDetails { configuredValues { key value } }
} }"""

_LAUNCH_BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename
  ... on LaunchBackfillSuccess { backfillId }
  ... on Error { message }
} }"""

_BACKFILL = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  __typename
  ... on Error { message }
  ... on PartitionBackfill { status error { message } assetBackfillData { assetBackfillStatuses {
    ... on AssetPartitionsStatusCounts {
      numPartitionsTargeted numPartitionsMaterialized numPartitionsFailed } } } }
} }"""

_LAUNCH_RUN = """
mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on Error { message }
} }"""

_RUN = """
query($id: ID!) { runOrError(runId: $id) {
  __typename
  ... on Error { message }
  ... on Run { status stepStats { stepKey status } }
} }"""

_REPORT = """
mutation($params: ReportRunlessAssetEventsParams!) { reportRunlessAssetEvents(eventParams: $params) {
  __typename
  ... on Error { message }
} }"""

_FAILURES = """
query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on ExecutionStepFailureEvent { stepKey error { className message causes { className message } } }
  ... on AssetCheckEvaluationEvent { evaluation { success checkName description assetKey { path } } }
  ... on RunFailureEvent { message }
} } } }"""


@dataclass(frozen=True)
class BackfillProgress:
    """How far a backfill is, in partitions."""

    status: str
    targeted: int
    materialized: int
    failed: int
    error: str | None = None

    @property
    def finished(self) -> bool:
        return self.status.startswith(("COMPLETED", "FAILED", "CANCELED"))

    @property
    def succeeded(self) -> bool:
        """Dagster calls a backfill COMPLETED also when partitions failed; only counts tell."""
        return (
            self.status in ("COMPLETED", "COMPLETED_SUCCESS")
            and self.failed == 0
            and self.materialized == self.targeted
        )


@dataclass(frozen=True)
class RunProgress:
    """State of one run and of its steps."""

    status: str
    steps: Mapping[str, str]

    @property
    def finished(self) -> bool:
        return self.status in ("SUCCESS", "FAILURE", "CANCELED")


class DagsterClient:
    """Launches and watches runs on the webserver at `settings.dagster_address`."""

    def __init__(self, settings: Settings):
        self._nowhere: SettingsError | None = None
        try:
            self.url = settings.dagster_address
        except (
            SettingsError
        ) as error:  # none runs here: not reachable, and told to whoever asks it all the same
            self.url, self._nowhere = "", error
        self._lake = settings.lake_uri

    def reachable(self) -> bool:
        """Whether a Dagster webserver answers there."""
        if self._nowhere:
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=5) as answer:  # noqa: S310  (http by construction)
                return "dagster_webserver_version" in json.load(answer)
        except (OSError, ValueError):
            return False

    def stranger(self) -> str | None:
        """Why the Dagster there is not the one for these settings; None when its runs write our lake.

        Any Dagster may listen on the port: another project's, or that of another home.
        """
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": REPOSITORY,
            "resourceName": ADDRESS,
        }
        try:
            found = self.query(_ADDRESS, {"selector": selector})
            lakes = [
                json.loads(value["value"]) for value in found["configuredValues"] if value["key"] == "lake"
            ]
        except (PlatformError, KeyError, TypeError, ValueError, AttributeError):
            return f"The Dagster at {self.url} has no code location {LOCATION!r} of Spearhead that is loaded"
        if lakes == [self._lake]:
            return None
        return f"The Dagster at {self.url} works on another lake: {', '.join(lakes)} instead of {self._lake}"

    def query(self, text: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Run one GraphQL operation. Raises PlatformError with the server's own message, SettingsError where none is to be found."""
        if self._nowhere:
            raise self._nowhere
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310  (http by construction)
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  (http by construction)
                result = json.load(answer)
        except urllib.error.HTTPError as error:
            raise PlatformError(
                f"Dagster at {self.url} refused a request: {error.read().decode()[:500]}"
            ) from None
        except OSError as error:
            raise PlatformError(
                f"Dagster at {self.url} did not answer ({error}); start it with `spearhead up`, "
                "or set SPEARHEAD_DAGSTER_PORT to where it runs"
            ) from None
        if result.get("errors"):
            raise PlatformError(f"Dagster at {self.url}: {result['errors'][0]['message']}")
        payload = next(iter(result["data"].values()))
        kind = payload.get("__typename", "")
        if payload.get("message") or kind == "RunConfigValidationInvalid":
            reason = payload.get("message") or "; ".join(error["message"] for error in payload["errors"])
            raise PlatformError(f"Dagster at {self.url} refused ({kind}): {reason}")
        return payload

    def launch_backfill(self, asset: str, first: str, last: str) -> str:
        """Launch an asset backfill over a range of daily partitions; returns its id."""
        key = {"path": [asset]}
        target = {"assetKey": key, "partitions": {"ranges": [{"start": first, "end": last}]}}
        params = {
            "partitionsByAssets": [target],
            "title": f"{asset} {first} to {last}",
            "tags": [{"key": "spearhead/started_by", "value": "spearhead backfill"}],
        }
        return str(self.query(_LAUNCH_BACKFILL, {"params": params})["backfillId"])

    def backfill(self, backfill_id: str) -> BackfillProgress:
        payload = self.query(_BACKFILL, {"id": backfill_id})
        counts = (payload["assetBackfillData"] or {}).get("assetBackfillStatuses") or [{}]
        return BackfillProgress(
            status=payload["status"],
            targeted=counts[0].get("numPartitionsTargeted", 0),
            materialized=counts[0].get("numPartitionsMaterialized", 0),
            failed=counts[0].get("numPartitionsFailed", 0),
            error=(payload.get("error") or {}).get("message"),
        )

    def watch_backfill(self, backfill_id: str, poll_s: float = 1.0) -> Iterator[BackfillProgress]:
        """Yield progress until the backfill is finished."""
        while True:
            progress = self.backfill(backfill_id)
            yield progress
            if progress.finished:
                return
            time.sleep(poll_s)

    def launch_job(self, job: str, days: tuple[str, str] | None = None) -> str:
        """Launch a job, over a range of daily partitions where it has them; returns the run's id."""
        tags = {"spearhead/started_by": "spearhead materialize"}
        if days:
            tags |= {RANGE_START_TAG: days[0], RANGE_END_TAG: days[1]}
        params = {
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": REPOSITORY,
                "pipelineName": job,
            },
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        return str(self.query(_LAUNCH_RUN, {"params": params})["run"]["runId"])

    def watch_run(self, run_id: str, poll_s: float = 0.5) -> Iterator[RunProgress]:
        """Yield the run's state until it is finished."""
        while True:
            payload = self.query(_RUN, {"id": run_id})
            progress = RunProgress(
                payload["status"], {step["stepKey"]: step["status"] for step in payload["stepStats"]}
            )
            yield progress
            if progress.finished:
                return
            time.sleep(poll_s)

    def report(self, asset: str, description: str) -> None:
        """Let the UI know that an asset was materialized without a run, by a command."""
        params = {
            "eventType": "ASSET_MATERIALIZATION",
            "assetKey": {"path": [asset]},
            "description": description,
        }
        self.query(_REPORT, {"params": params})

    def failures(self, run_id: str) -> list[str]:
        """Why steps of a run failed, one line each."""
        lines = []
        for event in self.query(_FAILURES, {"id": run_id}).get("events", []):
            if event.get("error"):
                chain = [event["error"], *event["error"]["causes"]]
                # Dagster's wrappers say nothing of their own; what was raised first says what to do.
                told = next(
                    (each for each in chain if not str(each["className"]).startswith("Dagster")), chain[-1]
                )
                lines.append(f"{event['stepKey']}: {told['message'].strip()}")
            elif event.get("message"):
                lines.append(event["message"])
            elif (found := event.get("evaluation")) and not found["success"] and found["description"]:
                lines.append(f"{found['assetKey']['path'][-1]}: {found['checkName']}: {found['description']}")
        return lines

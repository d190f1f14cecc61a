"""The phases of the demo, in order: from an empty lake to payments that are scored by the model trained on it."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from fraud_core.platform.demo.frame import Demo, Phase, PhaseFailed
from fraud_core.platform.demo.payments import live_payments
from fraud_core.platform.demo.percentiles import percentile
from fraud_core.release.bundle import list_bundles, read_manifest
from fraud_core.simulator import WorldSpec

HISTORY_DAYS = 90
FAULT_SHARE = 0.01
LIVE_SECONDS = 15
LIVE_RATE = 50
SCORED_OVER_HTTP = 300
RELEASE_JOB = "history_release"
METRICS = ("auc", "average_precision", "card_precision_100")
COUNTS = ("events", "valid", "quarantined", "duplicates", "lost", "duplicated")
WORLD = WorldSpec()


def produce_history(demo: Demo) -> str:
    """Put a simulated past on the log."""
    manifest = _manifest(demo, "history")
    manifest.unlink(missing_ok=True)
    _manifest(demo, "live").unlink(missing_ok=True)
    past = ("--history", f"{HISTORY_DAYS}d", "--seed", str(WORLD.seed), "--faults", str(FAULT_SHARE))
    sent = demo.json_command("produce", *past, "--manifest", str(manifest), "--json", timeout_s=300)
    return f"{sent['transactions']:,} transactions of {HISTORY_DAYS} days, {sent['frauds']:,} of them fraud"


def wait_for_ingestion(demo: Demo) -> str:
    """Wait until everything on the log has a verdict and stands in a table."""
    counts = _reconciled(demo, timeout_s=300)
    return f"{counts['valid']:,} valid, {counts['quarantined']:,} quarantined, {counts['duplicates']:,} duplicates"


def release_model(demo: Demo) -> str:
    """Build the features of the whole history, train, evaluate and release: one run of the graph; then make it live."""
    today = datetime.now(UTC).date()
    first = today - timedelta(days=HISTORY_DAYS)
    demo.command(
        "materialize", RELEASE_JOB, "--from", first.isoformat(), "--to", today.isoformat(), timeout_s=600
    )
    demo.results["feature_rows"] = rows = _metadata(demo, "features", "dagster/row_count")
    if rows == 0:
        raise PhaseFailed("The feature table was expected to have rows; it has none.")
    version = list_bundles(demo.settings.bundles_path)[-1]
    demo.command(
        "release", "bootstrap", version, "--approver", "demo", "--reason", "the first model", timeout_s=60
    )
    manifest = read_manifest(demo.settings.bundles_path / version)
    demo.results["model_version"] = version
    for name in METRICS:
        demo.results[name] = manifest.metrics[name].value
    demo.results["test_frauds"] = int(manifest.metrics["test_frauds"].value)
    return f"{rows:,} feature rows, {version}, average precision {demo.results['average_precision']:.3f}"


def rebuild_state(demo: Demo) -> str:
    """Fold the history into the online state."""
    demo.command("state", "rebuild", timeout_s=300)
    return "online state holds the history"


def wait_for_serving(demo: Demo) -> str:
    """Wait until the service has loaded the champion."""
    demo.wait_until(
        f"{demo.serving_url}/readyz",
        lambda: demo.http("GET", f"{demo.serving_url}/readyz")[0] == 200,
        timeout_s=120,
    )
    return "ready"


def score_first(demo: Demo) -> str:
    """Score the first payment over HTTP, with the model that was just released."""
    payment, example = islice(live_payments(WORLD, 2), 2)
    answer = _score(demo, payment)
    demo.results["seconds_to_first_score"] = round(time.monotonic() - demo.began, 1)
    demo.results["backend"] = answer["backend"]
    demo.results["example"] = example
    if answer["model_version"] != demo.results["model_version"]:
        raise PhaseFailed(
            f"The payment was expected to be scored by {demo.results['model_version']}; found {answer['model_version']}."
        )
    if answer.get("fallback_reason"):
        raise PhaseFailed(
            f"The model was expected to answer; found the fallback {answer['fallback_reason']!r}."
        )
    return f"{answer['score']:.4f} → {answer['decision']} ({answer['backend']})"


def live_traffic(demo: Demo) -> str:
    """Let the simulator send live events to the log while payments are scored over HTTP."""
    manifest = _manifest(demo, "live")
    present = (
        "--rate",
        str(LIVE_RATE),
        "--for",
        f"{LIVE_SECONDS}s",
        "--seed",
        str(WORLD.seed),
        "--faults",
        str(FAULT_SHARE),
    )
    with demo.background("produce", *present, "--manifest", str(manifest)) as produced:
        latencies = []
        for payment in live_payments(WORLD, SCORED_OVER_HTTP):
            began = time.perf_counter()
            _score(demo, payment)
            latencies.append((time.perf_counter() - began) * 1000)
            demo.say(f"{len(latencies)} payments scored")
        produced(timeout_s=LIVE_SECONDS + 60)
    demo.results["scored"] = len(latencies) + 1
    demo.results["p50_ms"] = round(percentile(latencies, 50), 3)
    demo.results["p99_ms"] = round(percentile(latencies, 99), 3)
    return f"{len(latencies)} payments over HTTP, p50 {demo.results['p50_ms']} ms, p99 {demo.results['p99_ms']} ms"


def reconcile(demo: Demo) -> str:
    """Prove that nothing was lost or doubled."""
    counts = _reconciled(demo, timeout_s=120)
    demo.results.update(counts)
    return f"{counts['events']:,} events: 0 lost, 0 duplicated"


def prove_parity(demo: Demo) -> str:
    """Compute the features of what was scored again from the lake, and compare them bit for bit with those served."""
    today = datetime.now(UTC).date()
    days = ("--from", (today - timedelta(days=1)).isoformat(), "--to", today.isoformat())
    demo.command("materialize", "feature_refresh", *days, timeout_s=300)
    compared = _metadata(demo, "feature_parity", "compared")
    mismatches = _metadata(demo, "feature_parity", "mismatches")
    if mismatches or compared < demo.results["scored"]:
        raise PhaseFailed(
            f"{demo.results['scored']} or more served vectors were expected to equal the recomputed ones; {compared} were compared "
            f"and {mismatches} values differ: see the asset feature_parity at {demo.dagster_url}."
        )
    return f"{compared:,} served vectors equal the recomputed ones, bit for bit"


def report_quality(demo: Demo) -> str:
    """Have Great Expectations write the data-quality reports."""
    demo.command("materialize", "quality_reports", timeout_s=300)
    status, _ = demo.http("GET", f"{demo.settings.reports_url}/index.html")
    if status != 200:
        raise PhaseFailed(f"The reports were expected at {demo.settings.reports_url}; found status {status}.")
    return demo.settings.reports_url


def keep_traffic(demo: Demo) -> None:
    """After the phases of a demo that stays: live events until it ends."""
    demo.start("produce", "--rate", str(LIVE_RATE), "--faults", str(FAULT_SHARE), "--seed", str(WORLD.seed))


PHASES = [
    Phase("History", produce_history),
    Phase("Ingestion", wait_for_ingestion),
    Phase("Features and model", release_model),
    Phase("Online state", rebuild_state),
    Phase("Serving", wait_for_serving),
    Phase("First score", score_first),
    Phase("Live traffic", live_traffic),
    Phase("Reconciliation", reconcile),
    Phase("Parity", prove_parity),
    Phase("Data quality", report_quality),
]


def _manifest(demo: Demo, part: str) -> Path:
    return demo.settings.home_path / "demo" / f"{part}.json"


def _reconciled(demo: Demo, timeout_s: float) -> dict[str, int]:
    """Counts of `spearhead verify` once it proves that everything on the log was ingested, and nothing lost or doubled."""
    manifests = [_manifest(demo, part) for part in ("history", "live") if _manifest(demo, part).exists()]
    arguments = [word for manifest in manifests for word in ("--manifest", str(manifest))]
    found: dict[str, Any] = {}
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = demo.json_command("verify", *arguments, "--json", timeout_s=120, any_exit=True)
        except PhaseFailed:  # before the first commit there is nothing to verify
            if time.monotonic() > deadline:
                raise
        if found:
            demo.say(f"{found['valid']:,} events ingested, {found['pending']:,} to go")
            if found["ok"] and found["events"] and not found["pending"]:
                return {key: int(found[key]) for key in COUNTS}
        if time.monotonic() > deadline:
            problems = "\n  ".join(found["problems"]) or "no problem named"
            raise PhaseFailed(
                f"Everything on the log was expected to be proved ingested within {timeout_s:.0f} s; found {found['pending']} events "
                f"pending, {found['lost']} lost, {found['duplicated']} duplicated:\n  {problems}"
            )
        time.sleep(1.0)


def _score(demo: Demo, event: dict[str, Any]) -> dict[str, Any]:
    status, answer = demo.http("POST", f"{demo.serving_url}/v1/score", event)
    if status != 200 or not isinstance(answer, dict):
        raise PhaseFailed(f"POST /v1/score was expected to answer 200; found {status}: {answer}")
    return answer


def _metadata(demo: Demo, asset: str, label: str) -> int:
    """A number that the asset's latest materialization reported."""
    query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
      assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""
    variables = {"key": {"path": [asset]}}
    status, answer = demo.http(
        "POST", f"{demo.dagster_url}/graphql", {"query": query, "variables": variables}
    )
    try:
        entries = answer["data"]["assetNodeOrError"]["assetMaterializations"][0]["metadataEntries"]
        return next(int(entry["intValue"]) for entry in entries if entry["label"] == label)
    except (TypeError, KeyError, IndexError, StopIteration):
        raise PhaseFailed(
            f"Dagster was expected to know {label} of {asset}; found {status}: {answer}"
        ) from None

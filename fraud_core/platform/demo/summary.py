"""What the demo reports at its end: the addresses to look at, a request to paste, and the numbers."""

import json
import shlex
from typing import Any

from rich.table import Table

from fraud_core.platform.demo.frame import Demo

RESULT_KEYS = (
    "events",
    "valid",
    "quarantined",
    "duplicates",
    "lost",
    "duplicated",
    "feature_rows",
    "model_version",
    "auc",
    "average_precision",
    "card_precision_100",
    "test_frauds",
    "scored",
    "p50_ms",
    "p99_ms",
    "backend",
    "seconds_to_first_score",
)


def print_summary(demo: Demo) -> None:
    """Print numbers, addresses and a curl command that works when pasted."""
    console = demo.progress.console
    numbers = Table(box=None, pad_edge=False, show_header=False)
    for key in RESULT_KEYS:
        numbers.add_row(key.replace("_", " "), _shown(demo.results[key]))
    console.print(numbers)
    console.print(f"\n  Dagster UI            {demo.dagster_url}")
    console.print(f"  Scoring API and docs  {demo.serving_url}")
    console.print(f"  Data-quality reports  {demo.settings.reports_url}")
    if "example" in demo.results:
        console.print("\nScore a payment:\n")
        console.print(curl_command(demo.serving_url, demo.results["example"]), markup=False)


def curl_command(serving_url: str, event: dict[str, Any]) -> str:
    """A request to score `event`, as a line for a shell."""
    body = shlex.quote(json.dumps(event))
    return f"curl -s {serving_url}/v1/score -H 'Content-Type: application/json' -d {body}"


def _shown(value: Any) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )

"""`spearhead bench groups`: what dividing the shards among several ingest runs brings, and how often their commits collide.

One backlog of single JSON events over as many shards as there are runs, ingested by one run and by several, each time into an
empty lake. All are loaded and wait for each other before the clock starts.
"""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fraud_assets.benchmarks.load import JsonLoad, templates
from fraud_assets.benchmarks.rig import Rig
from fraud_assets.ingestion import run_ingest
from fraud_assets.ingestion.groups import ShardGroup
from fraud_assets.ingestion.verify import verify
from fraud_core.errors import PlatformError
from fraud_core.log import Log, open_log
from fraud_core.settings import Settings, load_settings

_TIMEOUT_S = 600.0
_WARM_UP = 10_000
_PLAN = 20_000
"""Small plans: many commits, so that they have occasion to collide."""


def groups(
    runs: Annotated[int, typer.Option(min=2, max=16, help="Runs to compare with one; as many shards.")] = 2,
    events: Annotated[int, typer.Option(min=20_000, help="Events of the backlog.")] = 800_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Measure one ingest run against several that divide the shards among them."""
    found: dict[str, Any] = {
        "runs": runs,
        "events": events,
        "one": measure(1, runs, events),
        "several": measure(runs, runs, events),
    }
    found["gain"] = found["several"]["events_per_s"] / found["one"]["events_per_s"]
    if as_json:
        print(json.dumps(found))
        return
    console = Console(highlight=False)
    for name in ("one", "several"):
        each = found[name]
        console.print(
            f"{each['runs']} run(s): {each['events_per_s']:,.0f} events/s, {each['cpu_us_per_event']:.2f} µs CPU an event, "
            f"{each['refused']} of {each['commits']} plans refused and planned anew, {each['lost']} lost, {each['duplicated']} doubled"
        )
    console.print(f"{runs} runs are {found['gain']:.2f} times as fast as one.")


def measure(runs: int, shards: int, events: int) -> dict[str, Any]:
    """Ingest a backlog of `events` over `shards` shards with `runs` runs."""
    with Rig(None) as rig:
        settings = rig.settings.changed(shards=shards, plan_max_events=_PLAN)
        log = open_log(settings)
        try:
            _fill(log, rig, shards, events)
        finally:
            log.close()
        children = [
            rig.start(
                f"run-{number}", "fraud_assets.benchmarks.groups", str(number), str(runs), settings=settings
            )
            for number in range(runs)
        ]
        ready = [rig.home / f"ready-{number}" for number in range(runs)]
        for child, path in zip(children, ready, strict=True):
            rig.wait(path.exists, child, f"run-{ready.index(path)}", _TIMEOUT_S)
        began = time.time()
        (rig.home / "go").touch()
        codes = [child.wait(_TIMEOUT_S) for child in children]
        if any(codes):
            raise PlatformError(
                f"The benchmark's runs were expected to succeed; their exit codes are {codes}."
            )
        done = [json.loads((rig.home / f"done-{number}").read_text()) for number in range(runs)]
        proof = verify(settings)
    seconds = max(each["ended"] for each in done) - began
    total = sum(each["events"] for each in done)
    return {
        "runs": runs,
        "events": total,
        "events_per_s": total / seconds,
        "cpu_us_per_event": sum(each["cpu_s"] for each in done) / total * 1e6,
        "commits": sum(each["commits"] for each in done),
        "refused": sum(each["refused"] for each in done),
        "lost": proof.lost + proof.pending,
        "duplicated": proof.duplicated,
    }


def _fill(log: Log, rig: Rig, shards: int, events: int) -> None:
    log.shards("transactions")  # says how many there are, before anything else does
    made = templates(1, 0.01)
    for number in range(shards):
        key = f"bench:log:{{transactions.{number}}}"
        load = JsonLoad(made, "127.0.0.1", rig.valkey.port, key)
        load.send(events // shards)
        load.finish()


def _child(settings: Settings, number: int, of: int) -> None:
    group = ShardGroup(number, of)
    # The first plan compiles and fills caches: a run that lives for a quarter of an hour pays for it once.
    run_ingest(settings.changed(plan_max_events=_WARM_UP), ("transactions",), plans_per_shard=1, group=group)
    (settings.home_path / f"ready-{number}").touch()
    while not (settings.home_path / "go").exists():
        time.sleep(0.005)
    used = time.process_time()
    totals = run_ingest(settings, ("transactions",), group=group)
    told = {
        "events": totals.events,
        "commits": totals.commits,
        "refused": totals.refused,
        "cpu_s": time.process_time() - used,
        "ended": time.time(),
    }
    path: Path = settings.home_path / f"done-{number}"
    path.write_text(json.dumps(told))


if __name__ == "__main__":
    _child(load_settings(), int(sys.argv[1]), int(sys.argv[2]))

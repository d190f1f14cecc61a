"""`spearhead backfill` and `spearhead materialize`: runs of the graph from the command line."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fraud_assets.runs.client import DagsterClient
from fraud_core.errors import PlatformError, SettingsError
from fraud_core.settings import Settings, load_settings

DAYS_PER_RUN = 31
PARTITIONED = ("features",)

InProcess = Annotated[
    bool,
    typer.Option(
        "--in-process", help="Run here even where a Dagster is running (it then shows the run too)."
    ),
]


def backfill(
    asset: Annotated[str, typer.Argument(help="A daily-partitioned asset, such as features.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First event date, UTC.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last event date, UTC.")],
    in_process: InProcess = False,
) -> None:
    """Materialize daily partitions of an asset again; safe to repeat, exits 1 when any partition failed."""
    settings = load_settings()
    start, end = _checked_range(settings, asset, first.date(), last.date())
    console = Console(stderr=True)
    client = DagsterClient(settings)
    if in_process or not client.reachable():
        _backfill_here(settings, console, asset, start, end)
    elif stranger := client.stranger():
        console.print(f"{stranger}: running here instead.", markup=False, soft_wrap=True)
        _backfill_here(settings, console, asset, start, end)
    else:
        _backfill_remotely(client, console, asset, start, end)


def _checked_range(settings: Settings, asset: str, start: date, end: date) -> tuple[date, date]:
    if asset not in PARTITIONED:
        raise SettingsError(
            f"Only daily-partitioned assets are backfilled ({', '.join(PARTITIONED)}); found {asset!r}"
        )
    if start > end:
        raise SettingsError(f"--from must not be after --to; found {start} and {end}")
    today = datetime.now(UTC).date()
    if end > today or start < settings.first_event_date:
        raise SettingsError(
            f"Partitions exist from {settings.first_event_date} (SPEARHEAD_FIRST_EVENT_DATE) to today, {today}; "
            f"found {start} to {end}"
        )
    return start, end


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _backfill_remotely(client: DagsterClient, console: Console, asset: str, start: date, end: date) -> None:
    backfill_id = client.launch_backfill(asset, start.isoformat(), end.isoformat())
    console.print(f"backfill {backfill_id}: {client.url}/runs/b/{backfill_id}")
    asked = (end - start).days + 1
    with _bar(console) as bar:
        task = bar.add_task(asset, total=asked)
        for progress in client.watch_backfill(backfill_id):
            bar.update(task, completed=progress.materialized + progress.failed)
    if not progress.succeeded or progress.targeted != asked:
        raise PlatformError(
            f"Backfill {backfill_id} of {asset} ended {progress.status}: {progress.materialized} of {asked} "
            f"partitions materialized, {progress.targeted} targeted, {progress.failed} failed. {progress.error or ''}\n"
            f"See {client.url}/runs/b/{backfill_id}, then run the same command again."
        )


def _chunks(start: date, end: date) -> Iterator[tuple[date, date]]:
    while start <= end:
        stop = min(end, start + timedelta(days=DAYS_PER_RUN - 1))
        yield start, stop
        start = stop + timedelta(days=1)


def _backfill_here(settings: Settings, console: Console, asset: str, start: date, end: date) -> None:
    from fraud_assets.runs.in_process import materialize

    failed: list[str] = []
    with _bar(console) as bar:
        task = bar.add_task(asset, total=(end - start).days + 1)
        for first, last in _chunks(start, end):
            reasons = materialize(settings, asset, (first.isoformat(), last.isoformat()))
            if reasons:
                failed.append(f"  {first} to {last}: {'; '.join(reasons)}")
            bar.advance(task, (last - first).days + 1)
    if failed:
        lines = "\n".join(failed)
        raise PlatformError(
            f"Partitions of {asset} failed:\n{lines}\nMend the cause, then run the same command again."
        )


def materialize(
    job: Annotated[str, typer.Argument(help="A job of the graph, such as model_release.")],
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First event date.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last event date.")
    ] = None,
) -> None:
    """Run a job on the running Dagster, show its steps, exit 1 when it failed."""
    if (first is None) != (last is None):
        raise SettingsError("--from and --to belong together; give both or neither")
    console = Console(stderr=True)
    client = DagsterClient(load_settings())
    if client.reachable() and (stranger := client.stranger()):
        raise PlatformError(
            f"{stranger}. Start this home's own with `spearhead up`, or set SPEARHEAD_HOME, SPEARHEAD_LAKE and "
            "SPEARHEAD_DAGSTER_PORT to those of the Dagster that is meant."
        )
    days = (first.date().isoformat(), last.date().isoformat()) if first and last else None
    run_id = client.launch_job(job, days)
    console.print(f"run {run_id}: {client.url}/runs/{run_id}")
    shown: dict[str, str] = {}
    for progress in client.watch_run(run_id):
        for step, status in progress.steps.items():
            if shown.get(step) != status and status:
                console.print(f"  {step}: {status.lower().replace('_', ' ')}")
                shown[step] = status
    if progress.status != "SUCCESS":
        reasons = "\n  ".join(client.failures(run_id)) or "see its log"
        raise PlatformError(
            f"Run {run_id} of {job} ended {progress.status}:\n  {reasons}\n{client.url}/runs/{run_id}"
        )
    print(run_id)

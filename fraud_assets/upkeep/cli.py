"""`spearhead upkeep`."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fraud_core.settings import load_settings


def upkeep(
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table; may be given several times.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what tables cost and what vacuum would remove; change nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Compact and vacuum every table of the lake, cut their logs, and remove what retention no longer keeps."""
    from fraud_assets.lake import open_lake
    from fraud_assets.upkeep import keep_lake

    settings = load_settings()
    console = Console(highlight=False, stderr=as_json)
    found = keep_lake(
        settings,
        open_lake(settings),
        table,
        dry_run=dry_run,
        report=lambda done: console.print(f"{done.table} …", style="dim"),
    )
    document: dict[str, Any] = asdict(found)
    if not table:
        from fraud_assets.runs.in_process import dagster_instance
        from fraud_assets.upkeep.reports import remove_old_reports
        from fraud_assets.upkeep.run_storage import purge_runs

        document["reports_removed"] = (
            remove_old_reports(settings.reports_path, settings.retain_reports_days)
            if settings.retain_reports_days and not dry_run
            else 0
        )
        if settings.retain_runs_days:
            with dagster_instance(settings) as instance:
                runs = purge_runs(
                    instance, settings.retain_runs_days, settings.home_path / "dagster", dry_run=dry_run
                )
            document["runs"] = asdict(runs)
    if as_json:
        print(json.dumps(document, default=str))
    else:
        _show(console, document)
    if found.problems:
        raise typer.Exit(1)


def _show(console: Console, document: dict[str, Any]) -> None:
    table = Table("table", box=None, pad_edge=False)
    for column in ("version", "files", "MB", "stored files", "stored MB", "log files", "log MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for done in document["tables"]:
        before, after = done["before"], done["after"]
        table.add_row(
            done["table"],
            *(_change(before[name], after[name]) for name in ("version", "files")),
            _change(before["bytes"] / 1e6, after["bytes"] / 1e6),
            _change(before["stored_files"], after["stored_files"]),
            _change(before["stored_bytes"] / 1e6, after["stored_bytes"] / 1e6),
            _change(before["log_files"], after["log_files"]),
            _change(before["log_bytes"] / 1e6, after["log_bytes"] / 1e6),
        )
    console.print(table)
    for name, rows in document["retired"].items():
        console.print(
            f"{name}: {rows:,} rows are older than their retention and were removed; their counts are kept."
        )
    if document["ledger_rows"]:
        console.print("ledger: {:,} rows, {:,} after old ones were joined.".format(*document["ledger_rows"]))
    for name in document["training_sets_removed"]:
        console.print(f"{name}: named by no bundle and no candidate; removed.")
    if "runs" in document:
        runs = document["runs"]
        console.print(f"Dagster's runs: {_change(runs['runs_before'], runs['runs_after'])}.")
    for problem in document["problems"]:
        console.print(problem, style="red", markup=False)


def _change(before: float, after: float) -> str:
    shown = [f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in (before, after)]
    return shown[0] if shown[0] == shown[1] else " → ".join(shown)

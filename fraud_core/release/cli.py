"""`spearhead release`: see what is live, and change it by name and reason."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fraud_core.errors import BundleError
from fraud_core.release import aliases as change
from fraud_core.release.aliases import Aliases
from fraud_core.release.bundle import list_bundles, load_bundle, read_manifest
from fraud_core.release.path_aliases import PathAliasStore
from fraud_core.settings import load_settings

app = typer.Typer(name="release", help="Release bundles, and which of them is live.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(help="Model version, such as m-20260901T120000Z-0a1b2c3d.")]
Approver = Annotated[str, typer.Option("--approver", help="Who decided it; goes into the audit.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; goes into the audit.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

SHOWN = ("auc", "average_precision", "card_precision_100")


@app.command("list")
def list_releases(as_json: AsJson = False) -> None:
    """All release bundles with their aliases and metrics, oldest first."""
    bundles = load_settings().bundles_path
    live = PathAliasStore(bundles).read()
    rows = [_row(version, live) for version in list_bundles(bundles)]
    if as_json:
        typer.echo(json.dumps({"generation": live.generation, "bundles": rows}, indent=2))
        return
    if not rows:
        typer.echo(f"No release bundle in {bundles} yet. Materialize `release` to make the first.")
        return
    table = Table("version", "alias", *SHOWN, "train rows", title=f"generation {live.generation}")
    table.columns[0].min_width = len("m-20260101T000000Z-00000000")  # there to be pasted, so never cut
    for row in rows:
        metrics = row.get("metrics", {})
        table.add_row(
            str(row["version"]),
            str(row["alias"] or ""),
            *(_measure(metrics.get(name)) for name in SHOWN),
            str(row.get("rows", row.get("error", ""))),
        )
    Console().print(table)


@app.command()
def show(version: Version) -> None:
    """One bundle's manifest, after proving all its files."""
    typer.echo(load_bundle(load_settings().bundles_path / version).manifest.to_json().decode())


@app.command()
def bootstrap(version: Version, approver: Approver, reason: Reason) -> None:
    """Make the very first model live."""
    bundles = load_settings().bundles_path
    _report(change.bootstrap(PathAliasStore(bundles), bundles, version, actor=approver, reason=reason))


@app.command()
def promote(version: Version, approver: Approver, reason: Reason) -> None:
    """Make the challenger the champion."""
    bundles = load_settings().bundles_path
    _report(change.promote(PathAliasStore(bundles), bundles, version, actor=approver, reason=reason))


@app.command()
def rollback(approver: Approver, reason: Reason) -> None:
    """Make the previous model live again."""
    bundles = load_settings().bundles_path
    _report(change.rollback(PathAliasStore(bundles), bundles, actor=approver, reason=reason))


@app.command()
def audit(as_json: AsJson = False) -> None:
    """Every change of the aliases: who, what and why, oldest first."""
    changes = PathAliasStore(load_settings().bundles_path).audit()
    if as_json:
        typer.echo(json.dumps([entry.model_dump(mode="json") for entry in changes], indent=2))
        return
    table = Table("generation", "at", "change", "version", "by", "reason")
    for entry in changes:
        table.add_row(
            str(entry.generation),
            f"{entry.at:%Y-%m-%d %H:%M:%SZ}",
            entry.kind,
            entry.version,
            entry.actor,
            entry.reason,
        )
    Console().print(table)


def _row(version: str, live: Aliases) -> dict[str, Any]:
    alias = next((n for n in ("champion", "challenger", "previous") if getattr(live, n) == version), None)
    try:
        manifest = read_manifest(load_settings().bundles_path / version)
    except BundleError as error:
        return {"version": version, "alias": alias, "error": str(error)}
    return {
        "version": version,
        "alias": alias,
        "created_at": manifest.created_at.isoformat(),
        "rows": manifest.training.rows,
        "metrics": {name: measure.model_dump() for name, measure in manifest.metrics.items()},
    }


def _measure(measure: dict[str, float | None] | None) -> str:
    if not measure:
        return "-"
    spread = f" ({measure['low']:.3f} to {measure['high']:.3f})" if measure.get("low") is not None else ""
    return f"{measure['value']:.3f}{spread}"


def _report(aliases: Aliases) -> None:
    typer.echo(
        f"champion {aliases.champion}, challenger {aliases.challenger or 'none'}, previous {aliases.previous or 'none'} "
        f"(generation {aliases.generation})"
    )

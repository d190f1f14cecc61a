"""`spearhead contracts`: what is promised, what changed, and what the lake was last written under."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fraud_core.contracts import Contract, Evolution, evolution, load_contract, load_contracts
from fraud_core.errors import ContractError
from fraud_core.settings import load_settings

app = typer.Typer(
    name="contracts",
    help="What the data promises, what changed, and what the lake was last written under.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
STREAM = typer.Argument(help="transactions, labels or decisions.")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Whether ingestion may go on under the contracts of the settings. Exit code 1 when it may not; nothing is written."""
    from fraud_assets.lake import STREAMS, open_lake
    from fraud_assets.lake.accepted import accepted

    settings = load_settings()
    contracts, lake = load_contracts(settings.contracts), open_lake(settings)
    found = []
    for name in STREAMS:
        held, contract = accepted(lake, name), contracts.for_stream(name)
        found.append((contract, None if held is None else evolution(held.contract, contract)))
    if as_json:
        typer.echo(json.dumps([_as_dict(contract, each) for contract, each in found], indent=1))
    else:
        for contract, each in found:
            _show(contract, each)
    raise typer.Exit(1 if any(each is not None and not each.allowed for _, each in found) else 0)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A contract (*.odcs.yaml) or a folder of contracts.")],
    new: Annotated[Path, typer.Argument(help="The same, as it is to become.")],
    as_json: AsJson = False,
) -> None:
    """What changed from one contract to another, and whether its version says so. Exit code 1 when data could not go on."""
    pairs = [
        (before, after)
        for before in _contracts(old)
        for after in _contracts(new)
        if before.name == after.name
    ]
    if not pairs:
        raise ContractError(
            f"Expected contracts of one name in {old} and {new}; they have none in common. Give two files or two folders."
        )
    found = [evolution(before, after) for before, after in pairs]
    if as_json:
        typer.echo(json.dumps([_as_dict(each.new, each) for each in found], indent=1))
    else:
        for each in found:
            _show(each.new, each)
    raise typer.Exit(0 if all(each.allowed for each in found) else 1)


@app.command()
def rules(
    stream: Annotated[str | None, STREAM] = None,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option(help="Print the page docs/reason-codes.md.")] = False,
) -> None:
    """Every rule under its reason code, as quarantine and data-quality results name it."""
    from fraud_assets.ingestion.reason_codes import reason_codes, reasons_page
    from fraud_assets.lake import STREAMS

    contracts = load_contracts(load_settings().contracts)
    streams = [stream] if stream else list(STREAMS)
    if markdown:
        typer.echo(reasons_page(contracts, streams), nl=False)
        return
    listed = [(name, code, words) for name in streams for code, words in reason_codes(contracts, name)]
    if as_json:
        typer.echo(json.dumps([{"stream": a, "code": b, "promise": c} for a, b, c in listed], indent=1))
        return
    table = Table("stream", "reason code", "what was promised")
    for row in listed:
        table.add_row(*row)
    Console().print(table)


@app.command()
def history(as_json: AsJson = False) -> None:
    """Which versions came into force in this lake, when, and by whose word."""
    from fraud_assets.lake import open_lake
    from fraud_assets.lake.accepted import history as versions

    rows = versions(open_lake(load_settings())).drop("document").to_dicts()
    if as_json:
        typer.echo(json.dumps(rows, default=str, indent=1))
        return
    table = Table("contract", "version", "since (UTC)", "by", "what changed")
    for row in rows:
        changed = "\n".join([*row["changes"], *([f"“{row['reason']}”"] if row["reason"] else [])])
        since = f"{row['accepted_at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(row["contract"], row["version"], since, row["accepted_by"], changed or "first version")
    Console().print(table)


@app.command()
def accept(
    stream: Annotated[str, STREAM],
    approver: Annotated[str, typer.Option(help="Who answers for it.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Put a stricter contract (a new major version) in force: events that break it go to quarantine from now on."""
    from fraud_assets.lake import open_lake
    from fraud_assets.lake.accepted import accept_contract

    settings = load_settings()
    contract = load_contracts(settings.contracts).for_stream(stream)
    found = accept_contract(open_lake(settings), contract, approver, reason)
    if found is None:
        typer.echo(f"{contract.name} {contract.version} is in force; there is nothing to accept.")
    else:
        _show(contract, found)
        typer.echo(f"{contract.name} {contract.version} is in force, by the word of {approver}.")


def _contracts(place: Path) -> list[Contract]:
    if not place.is_dir():
        return [load_contract(place)]
    return [load_contract(path) for path in sorted(place.glob("*.odcs.yaml"))]


def _as_dict(contract: Contract, found: Evolution | None) -> dict[str, Any]:
    return {
        "contract": contract.name,
        "version": contract.version,
        "before": None if found is None else found.old.version,
        "verdict": "new" if found is None else found.verdict,
        "changes": [
            {"level": each.level, "field": each.field, "words": each.words}
            for each in (found.changes if found else ())
        ],
        "advice": "" if found is None else found.advice,
    }


def _show(contract: Contract, found: Evolution | None) -> None:
    console = Console(highlight=False)
    if found is None:
        console.print(f"[green]✓[/] {contract.name} {contract.version}: new to this lake", soft_wrap=True)
        return
    mark = "[green]✓[/]" if found.allowed else "[red]✗[/]"
    console.print(
        f"{mark} {contract.name} {found.old.version} → {contract.version}: {found.verdict}", soft_wrap=True
    )
    for line in filter(None, (found.difference, found.advice)):
        console.print(line, markup=False, soft_wrap=True)

"""`spearhead quarantine`: find refused events, look at them, bring them back repaired, or set them aside."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fraud_core.settings import load_settings

app = typer.Typer(
    name="quarantine",
    help="Refused events: find them, look at them, bring them back repaired, or set them aside.",
    no_args_is_help=True,
)

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids as `list` shows them. Default: what the options select.")
]
Id = Annotated[str, typer.Argument(help="Id as `list` shows it: stream/incarnation/shard/offset/index.")]
Streams = Annotated[list[str] | None, typer.Option("--stream", help="Stream; may be repeated. Default: all.")]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Reason code; may be repeated: any of them.")
]
Since = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="First day on which they became known, UTC."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last day on which they became known, UTC."),
]
ShardNumber = Annotated[int | None, typer.Option("--shard", min=0, help="Shard of the log.")]
KindOption = Annotated[str, typer.Option("--kind", help="violation, duplicate or all.")]
StateOption = Annotated[str, typer.Option("--state", help="open, replayed, discarded or all.")]
Actor = Annotated[str, typer.Option("--actor", help="Who does it; goes into the audit.")]
Because = Annotated[str, typer.Option("--because", help="Why; goes into the audit.")]
Everything = Annotated[
    bool, typer.Option("--all", help="Every event in that state: asked for when nothing else selects.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list")
def list_rows(  # noqa: PLR0917
    stream: Streams = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    shard: ShardNumber = None,
    kind: KindOption = "violation",
    state: StateOption = "open",
    limit: Annotated[int, typer.Option(help="Rows to show, the newest first.", min=0)] = 20,
    by: Annotated[
        str | None, typer.Option(help="Counts instead of rows: reason, day, stream, shard, kind or state.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Events in quarantine with their reasons, personal values masked; what was discarded or brought back is left out."""
    from fraud_assets.lake import open_lake
    from fraud_assets.quarantine.listing import listed
    from fraud_assets.quarantine.selection import By, count_by, newest

    settings = load_settings()
    lake = open_lake(settings)
    chosen = _selection([], stream, reason, since, until, shard, kind, state)
    _tell_of_nothing(lake, chosen)
    if by is not None:
        _print_counts(by, *count_by(lake, chosen, cast("By", _one_of(by, By, "--by"))), as_json=as_json)
        return
    total, rows = newest(lake, chosen, limit)
    shown = listed(settings, lake, rows)
    if as_json:
        typer.echo(json.dumps({"events": total, "rows": shown}, default=str))
        return
    console = Console(highlight=False, soft_wrap=True)  # an id is there to be pasted, so never cut
    console.print(f"{total:,} events, {len(shown):,} shown")
    for row in shown:
        reasons = ", ".join(row["reasons"]) or row["kind"]
        console.print(Text(f"{row['known_at']:%Y-%m-%d %H:%M:%S}  {row['state']}  {reasons}"))
        console.print(Text(f"  {row['id']}", style="bold"))
        console.print(Text(f"  {_one_line(row)}"))
    if not total and chosen.reasons:
        typer.echo(
            "Nothing is in quarantine for that. `spearhead quarantine list --by reason --state all` counts what there is."
        )


@app.command()
def show(
    id_: Id,
    unmask: Annotated[
        bool, typer.Option("--unmask", help="Show personal values; needs --actor and leaves an audit row.")
    ] = False,
    actor: Actor = "",
    because: Because = "",
    as_json: AsJson = False,
) -> None:
    """One event: its values, its reasons in words, what became of it, and who did what to it."""
    from fraud_assets.lake import open_lake
    from fraud_assets.quarantine.listing import described
    from fraud_core.log import Origin

    settings = load_settings()
    found = described(
        settings, open_lake(settings), Origin.parse(id_), unmask=unmask, actor=actor, because=because
    )
    if as_json:
        typer.echo(json.dumps(found, default=str))
        return
    console = Console(highlight=False, soft_wrap=True)
    facts = Table.grid(padding=(0, 2))
    for name in ("id", "kind", "state", "known_at", "appended_at", "contract_version", "brings_back", "note"):
        if found.get(name):
            facts.add_row(Text(name.replace("_", " "), style="dim"), Text(str(found[name])))
    console.print(facts)
    event = found["event"]
    console.print(
        Text("\n" + (event if isinstance(event, str) else json.dumps(event, indent=2, ensure_ascii=False)))
    )
    _print_part(console, "Why", found["reasons"], lambda each: f"{each['code']}: {each['words']}")
    _print_part(
        console, "Copies brought back", found["copies"], lambda each: f"{each['id']}: {each['outcome']}"
    )
    _print_part(
        console,
        "Done to it",
        found["history"],
        lambda each: (
            f"{each['at']:%Y-%m-%d %H:%M:%S} {each['actor']}: {each['action']}, {each['outcome']}"
            + (f" ({each['because']})" if each["because"] else "")
            + (f", mapping {each['mapping_hash'][:12]}" if each["mapping_hash"] else "")
            + (f", now at {each['new_offset']}" if each["new_offset"] else "")
        ),
    )


@app.command()
def replay(  # noqa: PLR0917
    ids: Ids = None,
    stream: Streams = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    shard: ShardNumber = None,
    state: StateOption = "open",
    everything: Everything = False,
    mapping: Annotated[
        Path | None,
        typer.Option(
            "--map", help="YAML file with the steps of a repair. Default: as they came, after a contract fix."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge the repaired events, append nothing.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait until ingestion has judged them.", min=0)
    ] = 0.0,
    actor: Actor = "",
    because: Because = "",
    as_json: AsJson = False,
) -> None:
    """Append events again, repaired or as they came, to pass the same gate. Only what keeps the contract; safe to repeat."""
    from fraud_assets.lake import open_lake
    from fraud_assets.quarantine.gate import wait_until_judged
    from fraud_assets.quarantine.mapping import load_mapping
    from fraud_assets.quarantine.replaying import replay as bring_back
    from fraud_assets.quarantine.selection import check_scope
    from fraud_core.contracts import load_contracts

    settings = load_settings()
    chosen = _selection(ids, stream, reason, since, until, shard, "violation", state)
    check_scope(chosen, everything=everything)
    steps = None
    if mapping is not None:
        if len(chosen.streams) != 1:
            raise typer.BadParameter("a mapping is made for one stream: name it with --stream")
        steps = load_mapping(mapping, load_contracts(settings.contracts).for_stream(chosen.streams[0]))
    lake = open_lake(settings)
    _tell_of_nothing(lake, chosen)
    result = bring_back(settings, lake, chosen, actor, because, steps, dry_run=dry_run)
    judged = bool(wait) and wait_until_judged(lake, result.ends, wait)
    if as_json:
        typer.echo(json.dumps({**result.as_dict(), "dry_run": dry_run, "judged": judged}))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{result.selected:,} selected, {result.passing:,} would pass, {result.left_open:,} stay open."
        if dry_run
        else f"{result.selected:,} selected, {result.appended:,} appended, {result.left_open:,} stay open."
    )
    if result.arrived:
        console.print(f"{result.arrived:,} had reached the table before; that is noted now.")
    if result.kept_time:
        console.print(
            f"{result.kept_time:,} of them come from history and keep their virtual time; the others are known from now."
        )
    for code, count in result.refused.most_common():
        console.print(Text(f"  {count:>9,}  {code}  {_hint(code)}"))
    if dry_run and result.example and steps is not None:
        from fraud_assets.quarantine.view import masked

        for word, payload in zip(("before", "after"), result.example, strict=True):
            event = masked(load_contracts(settings.contracts), chosen.streams[0], payload)
            console.print(Text(f"{word:>6}: {json.dumps(event, ensure_ascii=False)}"))
    if not dry_run and result.appended:
        console.print(
            "Ingestion has judged them: `spearhead quarantine list` shows what it refused."
            if judged
            else "They are on the log; ingestion judges them as it judges everything else."
        )


@app.command()
def discard(  # noqa: PLR0917
    ids: Ids = None,
    stream: Streams = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    shard: ShardNumber = None,
    kind: KindOption = "violation",
    everything: Everything = False,
    actor: Actor = "",
    because: Because = "",
    as_json: AsJson = False,
) -> None:
    """Set events aside for good: marked with who and why, never deleted, left out of lists."""
    from fraud_assets.lake import open_lake
    from fraud_assets.quarantine.discarding import discard as set_aside
    from fraud_assets.quarantine.selection import check_scope

    chosen = _selection(ids, stream, reason, since, until, shard, kind, "open")
    check_scope(chosen, everything=everything)
    lake = open_lake(load_settings())
    _tell_of_nothing(lake, chosen)
    marked = set_aside(lake, chosen, actor, because)
    typer.echo(json.dumps({"discarded": marked}) if as_json else f"{marked:,} events discarded.")


def _selection(  # noqa: PLR0917
    ids: list[str] | None,
    streams: list[str] | None,
    reasons: list[str] | None,
    since: datetime | None,
    until: datetime | None,
    shard: int | None,
    kind: str,
    state: str,
) -> Any:
    from fraud_assets.lake import STREAMS
    from fraud_assets.quarantine.selection import Kind, Selection, State
    from fraud_core.log import Origin

    origins = tuple(Origin.parse(each) for each in ids or ())
    named = tuple(streams) if streams else tuple(sorted({each.stream for each in origins})) or STREAMS
    for stream in named:
        if stream not in STREAMS:
            raise typer.BadParameter(f"expected streams among {', '.join(STREAMS)}, found {stream}")
    if since and until and since > until:
        raise typer.BadParameter(
            f"--from {since:%Y-%m-%d} was expected to be no later than --to {until:%Y-%m-%d}"
        )
    return Selection(
        streams=named,
        reasons=tuple(reasons or ()),
        since=since.date() if since else None,
        until=until.date() if until else None,
        shard=shard,
        kind=cast("Kind", _one_of(kind, Kind, "--kind")),
        state=cast("State", _one_of(state, State, "--state")),
        origins=origins,
    )


def _tell_of_nothing(lake: Any, chosen: Any) -> None:
    """Why counts will be zero, beside them, so that JSON stays JSON."""
    from fraud_assets.quarantine.selection import nothing_there

    if why := nothing_there(lake, chosen):
        typer.echo(why, err=True)


def _one_of(value: str, choice: Any, option: str) -> str:
    allowed = get_args(choice)
    if value not in allowed:
        raise typer.BadParameter(f"{option}: expected one of {', '.join(allowed)}, found {value!r}")
    return value


def _one_line(row: dict[str, Any]) -> str:
    event = row["event"]
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"


def _hint(code: str) -> str:
    from fraud_assets.quarantine.replaying import BLOCK_HELD, HELD, SEALED
    from fraud_core.contracts.rules import UNKNOWN_FRAMING

    return {
        SEALED: "set SPEARHEAD_QUARANTINE_KEY to the key that they were sealed with",
        HELD: "the producer sent it again meanwhile: discard this one",
        UNKNOWN_FRAMING: "update this version until it knows the framing, then replay again",
        BLOCK_HELD: "several events in one row: have their producer send them again with the same ids, then discard this row",
        "row.repeated_field": "a mapping cannot tell which of two values counts",
    }.get(code, "")


def _print_part(console: Console, title: str, items: list[Any], line: Any) -> None:
    if items:
        console.print(Text(f"\n{title}", style="bold"))
        for item in items:
            console.print(Text(f"  {line(item)}"))


def _print_counts(by: str, total: int, counts: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"events": total, "by": by, "counts": counts}))
        return
    table = Table(by, "events", title=f"{total:,} events")
    table.columns[1].justify = "right"
    for name, count in counts.items():
        table.add_row(Text(name), f"{count:,}")
    Console().print(table)

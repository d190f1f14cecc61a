"""`spearhead report`: data-quality reports on request."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fraud_core.errors import SettingsError
from fraud_core.settings import Settings, load_settings

if TYPE_CHECKING:
    from fraud_assets.quality.period import Period


def report(
    tables: Annotated[list[str] | None, typer.Argument(help="Tables to report on. Default: all.")] = None,
    hour: Annotated[
        str, typer.Option(help="What was judged in this hour (UTC), such as 2026-09-01T13.")
    ] = "",
    day: Annotated[str, typer.Option(help="What was judged on this day (UTC), such as 2026-09-01.")] = "",
    days: Annotated[
        int, typer.Option(help="What was judged within so many days of now; 0: everything.", min=0)
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per report.")] = False,
) -> None:
    """Judge tables and their quarantines by Great Expectations, and write a page for each.

    Exit code 1 when a table breaks its contract or the two judges differ; refused events alone are no such thing.
    """
    from fraud_assets.ingestion.sealing import Seal
    from fraud_assets.lake import STREAMS, open_lake
    from fraud_assets.quality.period import last_judged
    from fraud_assets.quality.reports import make_report
    from fraud_core.contracts import load_contracts

    settings = load_settings()
    unknown = sorted(set(tables or ()) - set(STREAMS))
    if unknown:
        raise typer.BadParameter(f"expected tables among {', '.join(STREAMS)}, found {', '.join(unknown)}")
    period = _period(hour, day, days)
    lake, contracts = open_lake(settings), load_contracts(settings.contracts)
    seal = Seal.of(settings)
    whole = True
    for table in tables or STREAMS:
        if not lake.exists(table):
            typer.echo(
                f"{table}: nothing was ingested yet into {lake.uri}. `spearhead up` starts ingestion; another lake is "
                "SPEARHEAD_HOME or SPEARHEAD_LAKE",
                err=True,
            )
            continue
        made = make_report(lake, contracts, table, period, settings.reports_path, unseal=seal.open)
        whole &= made.success
        if as_json:
            typer.echo(
                json.dumps(
                    {
                        "table": table,
                        "period": period.words,
                        "success": made.success,
                        "admitted": made.admitted,
                        "refused": made.refused,
                        "duplicates": made.duplicates,
                        "counts": dict(made.counts),
                        "path": str(made.path),
                    }
                )
            )
            continue
        verdict = "keeps its contract" if made.success else "look here: " + ", ".join(made.disagreements)
        if not made.admitted and not made.refused and made.success:
            last = last_judged(lake, table)
            verdict = (
                f"nothing was judged in that time; the last was, {last:%Y-%m-%d %H:%M} UTC"
                if last
                else "nothing was judged yet"
            )
        typer.echo(
            f"{table}, {period.words}: {made.admitted} admitted, {made.refused} refused; {verdict}\n  {made.path}"
        )
    if not as_json:
        typer.echo(f"All reports: {place_of_all(settings)}")
    raise typer.Exit(0 if whole else 1)


def place_of_all(settings: Settings) -> str:
    """Where all reports are found: at an address, or in their folder where the port is still to be chosen."""
    place = settings.reports_url
    return f"{place}/ while the platform runs" if place.startswith("http") else f"{place}/index.html"


def _period(hour: str, day: str, days: int) -> "Period":
    from fraud_assets.quality.period import Period

    if hour and day:
        raise typer.BadParameter("give --hour or --day, not both")
    if not hour and not day:
        return Period.days_before(datetime.now(UTC), days)
    text = hour or day
    try:
        at = datetime.fromisoformat(f"{text}:00" if len(text) == 13 else text)
    except ValueError:
        raise SettingsError(
            f"Expected a time such as 2026-09-01T13 or a day such as 2026-09-01, found {text!r}. Correct it."
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    period, now = Period.hour(at) if hour else Period.day(at), datetime.now(UTC)
    if period.since is not None and period.since > now:
        raise SettingsError(
            f"Expected {'an hour' if hour else 'a day'} that has begun, found {text!r}; now it is {now:%Y-%m-%dT%H:%M} UTC. "
            "Hours and days are those of the judgement, not of the events: give an earlier one."
        )
    return period

"""`spearhead features`: what is declared, and what one feature means."""

import json
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fraud_core.errors import StateError
from fraud_core.features.moment import CLOCK, NOW, moment_ms, moment_text, said_of_moment
from fraud_core.settings import load_settings

app = typer.Typer(name="features", help="The declared features and what they mean.", no_args_is_help=True)

_SHOWN_ID: Final = 80
"""Characters of an id that stand above its features."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list")
def list_features(as_json: AsJson = False) -> None:
    """All features in the order of the vector."""
    from fraud_core.contracts import load_contracts
    from fraud_core.features.declaration import load_features
    from fraud_core.features.explain import error_of
    from fraud_core.features.rings import rings, state_bytes

    contracts = load_contracts(load_settings().contracts)
    features = load_features(contracts.features_path, contracts)
    if as_json:
        rows = [
            {
                "name": feature.name,
                "operator": feature.operator,
                "entities": feature.entities,
                "fields": feature.fields,
                "meaning": feature.meaning,
                "reason": feature.wording.text,
                "reason_above": feature.wording.above,
                "reason_below": feature.wording.below,
                "reason_when_absent": feature.wording.absent,
                "standard_error": error_of(feature),
                "hash": feature.hash,
            }
            for feature in features.features
        ]
        states = {
            name: {
                "layout": plan.rule.layout,
                "history_ms": plan.rule.horizon_ms,
                "most_bytes": state_bytes(plan),
                "windows": [
                    {"window_ms": ring.window_ms, "bucket_ms": ring.width_ms, "buckets": ring.buckets}
                    for ring in rings(plan)
                ],
            }
            for name, plan in features.plans.items()
        }
        document = {
            "path": str(features.path),
            "hash": features.hash,
            "state_hash": features.state_hash,
            "states": states,
            "features": rows,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    table = Table("feature", "state of", "meaning", title=f"{features.path}: {len(features.names)} features")
    for feature in features.features:
        table.add_row(feature.name, ", ".join(feature.entities), feature.meaning)
    Console().print(table)


@app.command()
def schema() -> None:
    """The JSON schema of features.yaml, for editors (`# yaml-language-server: $schema=…`)."""
    from fraud_core.features.schema import declaration_schema

    typer.echo(json.dumps(declaration_schema(), indent=2, ensure_ascii=False))


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="Name of a feature, as `features list` shows it.")],
) -> None:
    """What one feature means, needs and costs."""
    from fraud_core.contracts import load_contracts
    from fraud_core.features.declaration import load_features

    contracts = load_contracts(load_settings().contracts)
    typer.echo(load_features(contracts.features_path, contracts).explain(name))


@app.command()
def get(
    entity: Annotated[str, typer.Argument(help="Kind of entity, such as account.")],
    id: Annotated[str, typer.Argument(help="Its id.")],
    as_of: Annotated[
        str,
        typer.Option(
            metavar="clock|now|TIME",
            help="The moment at which a payment would come: the entity's own clock (its latest payment), now, or an ISO 8601 time such as "
            "2026-09-01T12:00:00Z (UTC where it names no zone); never before that clock.",
        ),
    ] = CLOCK,
    now: Annotated[bool, typer.Option("--now", help="The same as --as-of now.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a payment of one entity would find: its current features, read without changing anything."""
    from fraud_core.contracts import load_contracts
    from fraud_core.features import OnlineState, state_client
    from fraud_core.features.declaration import load_features

    if not id or not _is_text(id):
        raise typer.BadParameter("expected the entity's id, a text in UTF-8.", param_hint="ID")
    asked_ms = _asked(as_of, now)
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    with state_client(settings) as client:
        state = OnlineState(client, features, settings.namespace)
        state.load()
        found = state.read(entity, id, asked_ms)
    said = said_of_moment(asked_ms, found)
    values = {name: None if value != value else value for name, value in found.values.items()}  # noqa: PLR0124 (NaN is absent)
    if as_json:
        plain = {"entity": entity, "id": id, "seen": found.seen, "epoch": found.epoch, "seq": found.seq}
        times = {"clock_ms": found.clock_ms, "as_of_ms": found.as_of_ms or None, "as_of_note": said}
        typer.echo(json.dumps(plain | times | {"features": values, "needs_payment": found.asking}))
        return
    met = "never seen"
    if found.clock_ms is not None:
        met = f"{found.seq:,} events, the latest of {moment_text(found.clock_ms)}"
    as_of = f"; as of {moment_text(found.as_of_ms)}" if found.as_of_ms > (found.clock_ms or 0) else ""
    console = Console()
    console.print(Text(f"{entity} {_shown(id)}: {met}{as_of}; epoch {found.epoch}"), soft_wrap=True)
    if said:
        console.print(Text(said, style="yellow"), soft_wrap=True)
    table = Table("feature", "value")
    for name, value in values.items():
        table.add_row(name, "" if value is None else _number(value))
    console.print(table)


def _asked(as_of: str, now: bool) -> int:
    if now and as_of not in {CLOCK, NOW}:
        raise typer.BadParameter("--now is --as-of now; give one of the two.", param_hint="--now")
    try:
        return moment_ms(NOW if now else as_of)
    except StateError as error:
        raise typer.BadParameter(str(error), param_hint="--as-of") from None


def _is_text(id: str) -> bool:
    """Whether the shell gave text: bytes that are no UTF-8 come as surrogates."""
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(id: str) -> str:
    """An id on one line of a terminal, whatever is in it."""
    plain = id if id.isprintable() else repr(id)
    return plain if len(plain) <= _SHOWN_ID else f"{plain[:_SHOWN_ID]}… ({len(id):,} characters)"


def _number(value: float) -> str:
    """Counts and sums in full, as they are; what is fractional to the digits that a float32 has."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:.7g}"

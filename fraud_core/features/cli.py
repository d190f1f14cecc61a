"""`spearhead features`: what is declared, and what one feature means."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fraud_core.settings import load_settings

app = typer.Typer(name="features", help="The declared features and what they mean.", no_args_is_help=True)

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
                "reason": feature.reason,
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

"""`spearhead state`: the online feature state from the command line."""

import json
from typing import Annotated

import typer
from rich.console import Console

from fraud_assets.lake import open_lake
from fraud_assets.online_state.rebuild import rebuild_state
from fraud_assets.runs.client import DagsterClient
from fraud_core.contracts import load_contracts
from fraud_core.features import OnlineState, load_features
from fraud_core.log import open_log
from fraud_core.redis_connection import connect_redis
from fraud_core.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, help="The online feature state: a cache of the lake's history in Redis."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("rebuild")
def rebuild_command(as_json: AsJson = False) -> None:
    """Make the state anew from the lake into a new epoch, and make that current."""
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    console = Console(stderr=True)
    log = open_log(settings)
    try:
        with console.status("rebuilding the online state from the lake"):
            build = rebuild_state(settings, open_lake(settings), log, contracts, features)
    finally:
        log.close()
    dagster = DagsterClient(settings)
    if dagster.reachable() and dagster.stranger() is None:
        dagster.report("online_state", f"epoch {build.rebuilt.epoch}, by `spearhead state rebuild`")
    found = {
        "epoch": build.rebuilt.epoch,
        "events": build.rebuilt.events,
        "entities": build.rebuilt.entities,
        "bytes": build.rebuilt.bytes,
        "read_up_to": build.read_up_to,
    }
    if as_json:
        print(json.dumps(found))
    else:
        entities = ", ".join(f"{count:,} {name}" for name, count in build.rebuilt.entities.items())
        console.print(f"epoch {build.rebuilt.epoch}: {build.rebuilt.events:,} events, {entities}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Say which epoch is current and whether it belongs to the present feature declaration."""
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    client = connect_redis(settings.redis_address)
    try:
        state = OnlineState(client, features, settings.namespace)
        state.load()
        found = {"epoch": state.epoch(), "feature_set_hash": features.hash}
    finally:
        client.close()
    if as_json:
        print(json.dumps(found))
    else:
        print(f"epoch {found['epoch']}, feature set {found['feature_set_hash']}")

"""`spearhead bench`: one sub-command per benchmark; a new one joins by its file and a line here."""

import typer

from fraud_assets.benchmarks.commits import commits
from fraud_assets.benchmarks.features import features
from fraud_assets.benchmarks.groups import groups
from fraud_assets.benchmarks.ingest import ingest
from fraud_assets.benchmarks.state import state

app = typer.Typer(
    no_args_is_help=True, help="Measure this machine: speed, memory and what was lost, if anything."
)
app.command("commits")(commits)
app.command("groups")(groups)
app.command("ingest")(ingest)
app.command("features")(features)
app.command("state")(state)


@app.callback()
def bench() -> None:
    """Keeps `spearhead bench` a group however many sub-commands there are."""

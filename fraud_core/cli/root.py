"""The root of the command line: global options, commands of its own, and everything that other packages offer."""

import io
import sys
from importlib.metadata import version as distribution_version
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from fraud_core.cli import settings as settings_command
from fraud_core.cli.discovery import CommandUnavailable, load_command, offered_commands
from fraud_core.cli.failure import fail, is_control_flow


class CommandGroup(TyperGroup):
    """Adds the offered commands to those declared here, and turns errors into messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *offered_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        point = offered_commands().get(cmd_name)
        if own is not None or point is None:
            return own
        try:
            return load_command(cmd_name, point)
        except CommandUnavailable as error:
            return _unavailable(cmd_name, error)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:  # a person reads words, not a traceback; --debug shows it
            if ctx.params.get("debug") or is_control_flow(error):
                raise
            fail(error)


def _unavailable(name: str, error: CommandUnavailable) -> click.Command:
    """A command that cannot be imported stays listed, and says why when it is called."""

    def refuse(**_: Any) -> None:
        raise error

    return click.Command(
        name,
        callback=refuse,
        help="(not available here: its packages are not installed)",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )


app = typer.Typer(
    name="spearhead",
    cls=CommandGroup,
    help="Real-time payment-fraud detection: a governed lakehouse and a scoring service that agree bit for bit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("settings")(settings_command.show)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Real-time payment-fraud detection: a governed lakehouse and a scoring service that agree bit for bit."""


@app.command()
def version() -> None:
    """Print the version of Spearhead."""
    typer.echo(distribution_version("spearhead"))


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a sign that a terminal lacks must not turn a proof into an error
            stream.reconfigure(errors="replace")
    app()

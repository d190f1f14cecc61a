"""Finding commands that other packages offer, without importing any that is not needed."""

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click
import typer

from fraud_core.cli.numbers import demand_finite
from fraud_core.errors import SpearheadError

COMMAND_GROUP = "spearhead.commands"


class CommandUnavailable(SpearheadError):
    """An installed command cannot be imported."""


@cache
def offered_commands() -> dict[str, EntryPoint]:
    """Entry points of the group, by command name, in alphabetical order."""
    return {
        point.name: point for point in sorted(entry_points(group=COMMAND_GROUP), key=lambda point: point.name)
    }


def load_command(name: str, point: EntryPoint) -> click.Command:
    """Import one command and give it its name.

    Raises CommandUnavailable when the import fails, which nearly always means an extra that is not installed.
    """
    try:
        target: Any = point.load()
    except (ImportError, AttributeError) as error:
        raise CommandUnavailable(
            f"`spearhead {name}` is declared as {point.value}, which cannot be imported: {error}.\n"
            "Install the extra it belongs to (pip install 'spearhead[cpu,orchestration,serving]'), or run `make install` again."
        ) from error
    command = _as_click(name, target)
    command.name = name
    demand_finite(command)
    return command


def _as_click(name: str, target: typer.Typer | click.Command | Callable[..., Any]) -> click.Command:
    if isinstance(target, click.Command):
        return target
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name)(target)
        target = single
    command = typer.main.get_command(target)
    # Shell completion belongs to the root; a sub-app made with typer's defaults would offer its own.
    command.params = [
        each for each in command.params if each.name not in ("install_completion", "show_completion")
    ]
    return command

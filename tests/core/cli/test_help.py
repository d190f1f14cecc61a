"""The help of every command is part of the public face."""

from collections.abc import Callable, Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from fraud_core.cli import app

runner = CliRunner()


def every_command(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from every_command(child, (*path, name))


@pytest.mark.snapshot
def test_the_help_of_every_command_is_as_committed(
    matches_snapshot: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 100)
    monkeypatch.setattr("typer.rich_utils.COLOR_SYSTEM", None)
    pages = []
    for path in every_command(typer.main.get_command(app), ()):
        output = runner.invoke(app, [*path, "--help"], terminal_width=100).output
        pages.append("\n".join(line.rstrip() for line in output.strip().splitlines()))
    matches_snapshot("cli_help.txt", "\n\n".join(pages) + "\n")

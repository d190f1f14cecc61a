"""The command `spearhead`: one root, whose commands the packages add through the entry-point group `spearhead.commands`.

A command is a typer.Typer or a plain function; it is imported only when it is called or listed, so that a light
command stays light. An error meant for people ends as one message and exit code 1.
"""

from fraud_core.cli.root import app, main

__all__ = ["app", "main"]

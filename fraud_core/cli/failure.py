"""How an error reaches a person: one message on stderr that says what to do; the traceback only with --debug."""

import errno
import sys
from typing import NoReturn

import click
import typer
from rich.console import Console
from rich.text import Text

from fraud_core.errors import SpearheadError

EXIT_FAILED = 1


def explain(error: Exception) -> str:
    """The message of an error: its own where it was written for people, else what is known about its kind."""
    if isinstance(error, SpearheadError):
        return str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f" while writing {error.filename}" if error.filename else ""
        return f"The disk is full{where}. Free some space, then run the command again; nothing that was committed is lost."
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return f"{error.filename} lies on a read-only file system. Mount it for writing, or choose another place (SPEARHEAD_HOME)."
    if isinstance(error, PermissionError):
        return f"No permission for {error.filename}. Give this user access to it, or choose another place (SPEARHEAD_HOME)."
    if _is_redis_connection_error(error):
        return (
            f"Redis does not answer: {error}.\n"
            "Start the embedded one with `spearhead up`, or set SPEARHEAD_REDIS_URL to one that runs."
        )
    return (
        f"Unexpected {type(error).__name__}: {error}\n"
        "This is a defect. `spearhead --debug …` shows the traceback that a report of it needs."
    )


def fail(error: Exception) -> NoReturn:
    """Show the error and leave with exit code 1."""
    text = Text("error: ", style="bold red")
    text.append(explain(error), style="red")
    Console(stderr=True, highlight=False, soft_wrap=True).print(text)
    raise typer.Exit(EXIT_FAILED) from error


def is_control_flow(error: Exception) -> bool:
    """Whether click itself must see the exception: exits, aborts and usage errors, a reader that closed the pipe."""
    return isinstance(error, (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError))


def _is_redis_connection_error(error: Exception) -> bool:
    # Redis is imported only by commands that talk to it; an error of its kind cannot exist before.
    module = sys.modules.get("redis.exceptions")
    return module is not None and isinstance(error, (module.ConnectionError, module.TimeoutError))

"""The root command: discovery, errors, version."""

import io
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Annotated

import pytest
import redis
import typer
from rich.console import Console
from typer.testing import CliRunner

from fraud_core.cli import app, discovery, root
from fraud_core.errors import LakeError

runner = CliRunner()
GROUP = discovery.COMMAND_GROUP


def offer(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    points = {name: EntryPoint(name, value, GROUP) for name, value in targets.items()}
    monkeypatch.setattr(root, "offered_commands", lambda: points)


def refuse_lake() -> None:
    raise LakeError("The lake was expected to be writable; it is not. Mount it.")


def reach_redis() -> None:
    raise redis.ConnectionError("Error 111 connecting to 127.0.0.1:1")


def fill_disk() -> None:
    raise OSError(28, "No space left on device", "/data/part-0.parquet")


def write_to_a_read_only_volume() -> None:
    raise OSError(30, "Read-only file system", "/mnt/home/logs")


def prove() -> None:
    Console().print("✓ Nothing is lost.")


def stumble() -> None:
    raise ZeroDivisionError("by zero")


def greet(name: str) -> None:
    """Greet somebody."""
    typer.echo(f"hello {name}")


family = typer.Typer(help="Several commands.")


@family.command()
def one() -> None:
    typer.echo("one")


@family.command()
def two() -> None:
    typer.echo("two")


def test_a_plain_function_and_a_typer_app_are_both_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, greet=f"{__name__}:greet", family=f"{__name__}:family")
    assert runner.invoke(app, ["greet", "ada"]).output == "hello ada\n"
    assert runner.invoke(app, ["family", "two"]).output == "two\n"
    listing = runner.invoke(app, ["--help"]).output
    assert "Greet somebody." in listing
    assert "Several commands." in listing


def wait(seconds: float = 1.0, rate: Annotated[float, typer.Option(min=0)] = 2.0) -> None:
    typer.echo(f"{seconds} {rate}")


@pytest.mark.parametrize("option", ["--seconds", "--rate"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999"])
def test_what_is_no_finite_number_is_refused_by_the_name_of_its_option(
    monkeypatch: pytest.MonkeyPatch, option: str, number: str
) -> None:
    offer(monkeypatch, wait=f"{__name__}:wait")
    refused = runner.invoke(app, ["wait", option, number])
    assert refused.exit_code == 2
    assert option in refused.output
    assert runner.invoke(app, ["wait", option, "3"]).exit_code == 0


def test_a_command_is_imported_only_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, costly="fraud_core.there_is_no_such_module:app")
    result = runner.invoke(app, ["version"])
    assert result.exit_code == 0


def test_a_command_that_cannot_be_imported_stays_listed_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, costly="fraud_core.there_is_no_such_module:app")
    assert "costly" in runner.invoke(app, ["--help"]).output
    result = runner.invoke(app, ["costly", "--option", "value"])
    assert result.exit_code == 1
    assert "there_is_no_such_module" in result.stderr
    assert "make install" in result.stderr


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        ("refuse_lake", ["error: The lake was expected to be writable; it is not. Mount it."]),
        ("reach_redis", ["Redis does not answer", "SPEARHEAD_REDIS_URL", "spearhead up"]),
        ("fill_disk", ["disk is full", "/data/part-0.parquet"]),
        ("write_to_a_read_only_volume", ["/mnt/home/logs lies on a read-only file system", "SPEARHEAD_HOME"]),
        ("stumble", ["Unexpected ZeroDivisionError: by zero", "--debug"]),
    ],
)
def test_an_error_is_one_message_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, failing: str, words: list[str]
) -> None:
    offer(monkeypatch, failing=f"{__name__}:{failing}")
    result = runner.invoke(app, ["failing"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_debug_lets_the_error_through(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, failing=f"{__name__}:stumble")
    result = runner.invoke(app, ["--debug", "failing"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_wrong_settings_end_as_one_message_from_the_real_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fraud_core.cli", "settings"],
        env={"SPEARHEAD_SHARDS": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "SPEARHEAD_SHARDS" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_command_is_a_usage_error() -> None:
    result = runner.invoke(app, ["no-such-command"])
    assert result.exit_code == 2
    assert "no-such-command" in result.stderr


def test_a_terminal_that_lacks_a_sign_gets_another_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, prove=f"{__name__}:prove")
    monkeypatch.setattr(sys, "argv", ["spearhead", "prove"])
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding="latin-1", write_through=True))
    with pytest.raises(SystemExit) as left:
        root.main()
    assert left.value.code == 0
    assert terminal.getvalue() == b"? Nothing is lost.\n"

"""What the documents tell people to type exists: each command of theirs, with each option."""

import re
from pathlib import Path

import click
import pytest
import typer

from fraud_core.cli import app

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("examples/*/README.md"),
        *ROOT.glob("helm/**/*.md"),
    ]
)
TYPED = re.compile(r"(?:^(?: {4}|\t)[^`\n]*?|`)(?:\.venv/bin/)?spearhead ((?:[^`\n#]|#\S)*)", re.MULTILINE)
"""A line of a block, up to its remark, or a piece of code within a sentence."""


def complaint(words: list[str]) -> str | None:
    """What is wrong with a command line, if it names what there is not."""
    command: click.Command = typer.main.get_command(app)
    context = click.Context(command)
    place = 0
    while isinstance(command, click.Group) and place < len(words):
        word = words[place]
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        found = command.get_command(context, word)
        if found is None:
            return f"no command {word!r}"
        command, place = found, place + 1
    known = {
        name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "-h"}
    for word in words[place:]:
        option = re.match(r"\[?(--[a-z][a-z-]*)", word)
        if option and option[1] not in known:
            return f"no option {option[1]} of {command.name}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_document_exists_with_its_options(document: Path) -> None:
    typed = [match[1].split() for match in TYPED.finditer(document.read_text(encoding="utf-8"))]
    wrong = {" ".join(words): said for words in typed if (said := complaint(words))}
    assert not wrong


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert complaint(["quarantine", "replay", "--nope"]) == "no option --nope of replay"
    assert complaint(["quarantine", "replai"]) == "no command 'replai'"
    assert sum(len(TYPED.findall(path.read_text(encoding="utf-8"))) for path in DOCUMENTS) > 100

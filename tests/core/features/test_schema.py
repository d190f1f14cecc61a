"""The editor's schema: it is the committed one, takes what the reader takes, and refuses what a hand slips into."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fraud_core.features.schema import declaration_schema
from tests.core.features.strangers import random_declaration
from tests.core.features.world import DECLARATION

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = "docs/features.schema.json"


def judge(document: Any) -> None:
    jsonschema.Draft202012Validator(declaration_schema()).validate(document)


@pytest.mark.snapshot
def test_the_committed_schema_is_the_present_one(matches_snapshot: Callable[[str, str], None]) -> None:
    text = json.dumps(declaration_schema(), indent=2, ensure_ascii=False) + "\n"
    matches_snapshot(f"../../{COMMITTED}", text)


@pytest.mark.parametrize("folder", ["data_contracts", "examples/handbook", "examples/game"])
def test_shipped_declarations_fit_and_name_it(folder: str) -> None:
    path = ROOT / folder / "features.yaml"
    text = path.read_text()
    judge(yaml.safe_load(text))
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == ROOT / COMMITTED


def test_what_the_reader_takes_fits() -> None:
    jsonschema.Draft202012Validator.check_schema(declaration_schema())
    for text in (DECLARATION, *map(random_declaration, range(20))):
        judge(yaml.safe_load(text))


@pytest.mark.parametrize(
    "slip",
    [
        "features: {a: {hour: {}}}",
        "features: {a: {hour: {}, weekday: {}, reason: r}}",
        "features: {a: {houre: {}, reason: r}}",
        "features: {A: {hour: {}, reason: r}}",
        "features: {a: {count: {entity: payer, window: 1 hour}, reason: r}}",
        "features: {a: {count: {entity: payer, windwo: 1h}, reason: r}}",
        "features: {a: {sum: {entity: payer, window: 1h}, reason: r}}",
        "features: {a: {hour: {}, reason: r}}\nentities: {payer: {history: 1d, layout: rings}}",
        "features: {a: {hour: {}, reason: r}}\nentities: {payer: {remember: 5}}",
    ],
)
def test_slips_are_refused(slip: str) -> None:
    judge(yaml.safe_load("version: 1\nfeatures: {a: {hour: {}, reason: r}}"))
    with pytest.raises(jsonschema.ValidationError):
        judge(yaml.safe_load(f"version: 1\n{slip}"))

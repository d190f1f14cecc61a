"""A contract as one text that says everything that it promises and nothing about its file: for keeping beside the data.

Equal promises give equal texts, whatever the YAML looks like; a text gives the contract back, for comparing.
"""

import json
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from fraud_core.contracts.model import Contract, Field, Rule, Sla
from fraud_core.contracts.rule_parser import parse_rule
from fraud_core.errors import ContractError

FORM: Final = 1
"""Version of the text's own form."""
_DEFAULTS: Final = {each.name: each.default for each in fields(Field)}
_TUPLES: Final = {"enum"}
_WORDS: Final = {"examples"}
"""What no promise rests on."""


def canonical(contract: Contract) -> str:
    """The contract as JSON text."""
    document = {
        "form": FORM,
        "name": contract.name,
        "version": contract.version,
        "description": contract.description,
        "owner": contract.owner,
        "grain": contract.grain,
        "key": contract.key,
        "maturity_s": contract.maturity.total_seconds() if contract.maturity else None,
        "fields": [_field(each) for each in contract.fields],
        "rules": [
            {"name": each.name, "text": each.text, "description": each.description} for each in contract.rules
        ],
        "slas": [asdict(each) for each in contract.slas],
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def from_canonical(text: str) -> Contract:
    """The contract that `canonical` wrote down. Raises ContractError where the text is of a form not known here."""
    document = json.loads(text)
    if document.get("form") != FORM:
        raise ContractError(
            f"A stored contract was expected in form {FORM}; it is in form {document.get('form')!r}. It was written by a newer "
            "Spearhead: update this one."
        )
    named = tuple(_read_field(each) for each in document["fields"])
    types = {each.name: each.type for each in named}
    return Contract(
        name=document["name"],
        version=document["version"],
        description=document["description"],
        owner=document["owner"],
        grain=document["grain"],
        fields=named,
        rules=tuple(
            Rule(each["name"], each["text"], each["description"], parse_rule(each["text"], types))
            for each in document["rules"]
        ),
        slas=tuple(Sla(**each) for each in document["slas"]),
        key=tuple(document["key"]),
        maturity=None if document["maturity_s"] is None else timedelta(seconds=document["maturity_s"]),
        path=Path(f"{document['name']} {document['version']}, as it was stored"),
    )


def _read_field(stored: dict[str, Any]) -> Field:
    values: dict[str, Any] = {
        name: tuple(value) if name in _TUPLES else value for name, value in stored.items()
    }
    return Field(**values)


def _field(field: Field) -> dict[str, Any]:
    return {
        name: value
        for name in _DEFAULTS
        if name not in _WORDS
        and ((value := getattr(field, name)) != _DEFAULTS[name] or name in {"name", "type"})
    }

"""Two versions of a contract differ in words, and what breaks is told from what does not."""

from dataclasses import replace
from typing import Any

import pytest

from fraud_core.contracts import Contract, Field, compare


def changed(contract: Contract, name: str, version: str = "9.0.0", **change: Any) -> Contract:
    fields = tuple(replace(each, **change) if each.name == name else each for each in contract.fields)
    return replace(contract, fields=fields, version=version)


def test_the_same_contract_has_no_changes(transactions: Contract) -> None:
    assert compare(transactions, transactions) == []


@pytest.mark.parametrize(
    ("name", "change", "breaking", "words"),
    [
        ("amount_minor", {"type": "number"}, True, "type integer → number"),
        ("device_id", {"required": True}, True, "became required"),
        ("card_id", {"required": False}, False, "became optional"),
        ("amount_minor", {"maximum": 5}, True, "maximum 10000000000 → 5"),
        ("amount_minor", {"maximum": None}, False, "→ none"),
        ("amount_minor", {"minimum": -5}, False, "minimum 0 → -5"),
        ("channel", {"enum": ("pos", "ecom", "atm", "moto", "qr")}, False, "with qr"),
        ("channel", {"enum": ("pos", "ecom", "atm")}, True, "without moto"),
        ("device_id", {"pattern": "^x$"}, True, "pattern"),
        ("event_ts", {"minimum": 0}, False, "2000-01-01T00:00:00.000Z → 1970-01-01T00:00:00.000Z"),
        ("merchant_id", {"entity": None}, True, "role or entity"),
        ("merchant_id", {"description": "Other words."}, False, "other words"),
    ],
)
def test_a_changed_field_is_told_in_words(
    transactions: Contract, name: str, change: dict[str, Any], breaking: bool, words: str
) -> None:
    (found,) = compare(transactions, changed(transactions, name, **change))
    assert found.breaking is breaking
    assert words in found.words


def test_a_new_optional_field_is_a_minor_change_and_must_raise_the_version(transactions: Contract) -> None:
    new = replace(transactions, fields=(*transactions.fields, Field("wallet", "string")), version="1.1.0")
    assert [change.level for change in compare(transactions, new)] == ["minor"]
    assert "does not raise the minor" in compare(transactions, replace(new, version="1.0.1"))[-1].words
    assert [change.breaking for change in compare(new, transactions)] == [True, True]


def test_a_new_rule_or_key_breaks(transactions: Contract) -> None:
    assert compare(replace(transactions, rules=()), replace(transactions, version="2.0.0"))[0].breaking
    assert compare(transactions, replace(transactions, key=("card_id",), version="2.0.0"))[0].breaking

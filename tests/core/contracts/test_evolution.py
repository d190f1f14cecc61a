"""What may follow a contract by itself, what a person must accept, and what never may."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fraud_core.contracts import (
    Contract,
    Contracts,
    Field,
    canonical,
    compare,
    evolution,
    from_canonical,
    load_contracts,
)
from fraud_core.errors import ContractError


def changed(contract: Contract, name: str, version: str, **change: Any) -> Contract:
    fields = tuple(replace(each, **change) if each.name == name else each for each in contract.fields)
    return replace(contract, fields=fields, version=version)


def extended(contract: Contract, version: str, **options: Any) -> Contract:
    return replace(contract, fields=(*contract.fields, Field("wallet", "string", **options)), version=version)


@pytest.mark.parametrize("stream", ["transactions", "labels", "decisions"])
def test_a_stored_contract_is_the_contract(contracts: Contracts, stream: str) -> None:
    for each in (contracts, load_contracts(Path("examples/handbook"))):
        contract = each.for_stream(stream)
        read = from_canonical(canonical(contract))
        assert canonical(read) == canonical(contract)
        assert compare(read, contract) == compare(contract, read) == []
        assert [check.code for check in read.checks] == [check.code for check in contract.checks]


def test_a_stored_contract_of_an_unknown_form_is_refused(transactions: Contract) -> None:
    with pytest.raises(ContractError, match="update"):
        from_canonical(canonical(transactions).replace('"form":1', '"form":2'))


def test_words_alone_ask_for_nothing(transactions: Contract) -> None:
    found = evolution(transactions, changed(transactions, "merchant_id", "1.0.0", description="Other words."))
    assert found.verdict == "goes on"


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("1.0.0", "refused"), ("1.0.1", "refused"), ("1.1.0", "goes on"), ("2.0.0", "goes on")],
)
def test_a_new_optional_field_goes_on_under_a_minor_version(
    transactions: Contract, version: str, verdict: str
) -> None:
    found = evolution(transactions, extended(transactions, version))
    assert found.verdict == verdict
    assert verdict == "goes on" or "Raise the minor number" in found.advice


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("amount_minor", {"maximum": 500}),
        ("channel", {"enum": ("pos", "ecom")}),
        ("device_id", {"pattern": "^[0-9]+$"}),
        ("device_id", {"required": True}),
    ],
)
def test_a_stricter_promise_needs_a_major_version_and_a_persons_word(
    transactions: Contract, name: str, change: dict[str, Any]
) -> None:
    for version in ("1.0.0", "1.0.1", "1.1.0"):
        found = evolution(transactions, changed(transactions, name, version, **change))
        assert found.verdict == "refused"
        assert "Raise the major number" in found.advice
    found = evolution(transactions, changed(transactions, name, "2.0.0", **change))
    assert found.verdict == "to be accepted"
    assert "spearhead contracts accept transactions" in found.advice


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "2.0.0"])
def test_what_stored_rows_could_not_be_read_under_never_follows(transactions: Contract, version: str) -> None:
    gone = replace(
        transactions,
        fields=tuple(each for each in transactions.fields if each.name != "device_id"),
        version=version,
    )
    retyped = changed(transactions, "latitude", version, type="string", minimum=None, maximum=None)
    renamed = replace(
        transactions,
        fields=tuple(
            replace(each, name="shop_id") if each.name == "merchant_id" else each
            for each in transactions.fields
        ),
        version=version,
    )
    rekeyed = replace(transactions, key=("card_id",), version=version)
    for new in (gone, retyped, renamed, rekeyed):
        found = evolution(transactions, new)
        assert found.verdict == "refused"
        assert "lake" in found.advice


def test_an_older_contract_is_told_that_the_data_is_ahead(transactions: Contract) -> None:
    new = extended(transactions, "1.1.0")
    found = evolution(new, transactions)
    assert found.verdict == "refused"
    assert "ahead of this process" in found.advice
    assert evolution(replace(transactions, version="1.2.0"), transactions).verdict == "refused"

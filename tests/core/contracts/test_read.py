"""Contracts are read from ODCS files, and every fault names file, line and key."""

from pathlib import Path

import polars as pl
import pytest

from fraud_core.contracts import Contract, Contracts, load_contract, load_contracts
from fraud_core.errors import ContractError

HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook"


def test_the_packaged_contracts_give_roles_entities_and_promises(contracts: Contracts) -> None:
    transactions, labels = contracts.transactions, contracts.labels
    assert transactions.event_id == "transaction_id"
    assert transactions.event_time == "event_ts"
    assert transactions.entities == {
        "account": "account_id", "card": "card_id", "merchant": "merchant_id", "device": "device_id"
    }  # fmt: skip
    assert transactions.amount == "amount_base_minor"
    assert transactions.currency == "currency"
    assert transactions.future_tolerance_ms == 60_000
    assert transactions.key == ("transaction_id",)
    assert transactions.sla("latency") is not None
    assert labels.maturity is not None
    assert labels.maturity.days == 7
    assert (labels.label, labels.reported_at) == ("is_fraud", "reported_at")
    assert labels.key == ("transaction_id", "reported_at", "source")
    assert contracts.for_stream("decisions") is contracts.decisions


def test_types_are_those_of_the_lake(transactions: Contract, contracts: Contracts) -> None:
    schema = transactions.polars_schema()
    assert schema["event_ts"] == pl.Datetime("us", "UTC")
    assert schema["card_issued_on"] == pl.Date
    assert schema["amount_minor"] == pl.Int64
    assert contracts.decisions.polars_schema()["vector"] == pl.List(pl.Float32)
    assert contracts.decisions.polars_schema()["event"] == pl.String


def test_another_folder_brings_other_columns_and_takes_the_packaged_decisions() -> None:
    handbook = load_contracts(HANDBOOK)
    assert handbook.transactions.entities == {"customer": "customer_id", "terminal": "terminal_id"}
    assert handbook.transactions.amount == "amount_minor"
    assert handbook.decisions.path.parent.name == "data_contracts"


def test_norway_stays_a_country(transactions: Contract) -> None:
    assert "NO" in transactions.by_name["country"].enum


def broken(path: Path, old: str, new: str) -> str:
    """The complaint about a contract in which the first `old` became `new`, and that it names file and line."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        load_contract(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("minLength: 8, maxLength: 64}", "minLenght: 8, maxLength: 64}", ["minLenght", "minLength", "transaction_id"]),
        ("logicalType: integer", "logicalType: integr", ["integr", "amount_minor"]),
        ("version: 1.0.0", "version: latest", ["semantic version", "latest"]),
        ("value: eventId", "value: eventid", ["eventid", "did you mean 'eventId'"]),
        ("value: eventTime}", "value: amount}", ["amount"]),
        ("property: pii", "property: pij", ["pij", "did you mean 'pii'"]),
        ('"^[A-Za-z0-9_-]{8,64}$"', '"^(?=x)[A-Za-z]$"', ["portable", "look-around"]),
        ("maximum: 10000000000", "maximum: -1", ["minimum ≤ maximum"]),
        ("channel NOT IN", "chanel NOT IN", ["chanel", "did you mean 'channel'", "card_absent_online"]),
        ("role, value: baseAmount", "entity, value: base", ["string field"]),
        ("      - name: event_ts\n", "      - name: known_at\n", ["known_at", "Rename"]),
        ("mustBe: 0", "mustBe: 3", ["mustBe: 0"]),
        ("kind: DataContract\n", "", ["kind"]),
        ("name: transactions\n", "name: transactions\nname: transactions\n", ["each key once"]),
        ("schema:\n", "schema: [\n", ["valid YAML"]),
    ],
)  # fmt: skip
def test_a_fault_names_line_and_key(folder: Path, old: str, new: str, names: list[str]) -> None:
    path = folder / "transactions.odcs.yaml"
    expected_line = path.read_text(encoding="utf-8").split(old, 1)[0].count("\n") + 1
    message = broken(path, old, new)
    line = int(message.split(":", 1)[0])
    if new and "valid YAML" not in names:
        assert abs(line - expected_line) <= 12, message
    for name in names:
        assert name in message


def test_a_typo_is_found_on_its_own_line(folder: Path) -> None:
    path = folder / "transactions.odcs.yaml"
    message = broken(path, "examples: [acc_0000012345]", "exampels: [acc_0000012345]")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert "exampels" in lines[int(message.split(":", 1)[0]) - 1]


def test_several_currencies_need_a_base_amount(folder: Path) -> None:
    message = broken(
        folder / "transactions.odcs.yaml",
        "          - {property: role, value: baseAmount}\n",
        "          - {property: pii, value: none}\n",
    )
    assert "baseAmount" in message


def test_one_currency_needs_none(folder: Path) -> None:
    text = (HANDBOOK / "transactions.odcs.yaml").read_text(encoding="utf-8")
    path = folder / "transactions.odcs.yaml"
    currency = (
        "      - name: currency\n        logicalType: string\n        enum: [{value: EUR}]\n"
        "        customProperties:\n          - {property: role, value: currency}\n"
    )
    path.write_text(text + currency, encoding="utf-8")
    assert load_contract(path).currency == "currency"


def test_a_contract_without_an_entity_is_refused(folder: Path) -> None:
    text = (HANDBOOK / "transactions.odcs.yaml").read_text(encoding="utf-8")
    for name in ("customer", "terminal"):
        text = text.replace(
            f"          - {{property: entity, value: {name}}}\n", "          - {property: pii, value: none}\n"
        )
    path = folder / "transactions.odcs.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError, match="at least one entity"):
        load_contract(path)


def test_a_missing_folder_and_a_missing_file_say_what_to_do(folder: Path) -> None:
    with pytest.raises(ContractError, match="SPEARHEAD_CONTRACTS"):
        load_contracts(folder / "nowhere")
    (folder / "labels.odcs.yaml").unlink()
    with pytest.raises(ContractError, match=r"labels\.odcs\.yaml"):
        load_contracts(folder)


def test_the_json_schema_accepts_the_example_and_refuses_another_field(transactions: Contract) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(transactions.json_schema())
    example = transactions.example()
    assert list(validator.iter_errors(example)) == []
    assert list(validator.iter_errors({**example, "unknown": 1}))
    assert list(validator.iter_errors({**example, "device_id": None})) == []


def test_the_contract_that_the_documents_show_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "contracts.md"
    shown = page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "transactions.odcs.yaml"
    path.write_text(shown, encoding="utf-8")
    assert load_contract(path).entities == {"holder": "holder_id"}

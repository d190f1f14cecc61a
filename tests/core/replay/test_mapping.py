"""Which column becomes which field, and how a mapping that cannot be is refused."""

from pathlib import Path

import pytest

from fraud_core.contracts import Contracts, load_contracts
from fraud_core.errors import DataFileError
from fraud_core.replay.mapping import FieldSource, load_mapping

HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook"
COLUMNS = ["transaction_id", "tx_datetime", "customer_id", "terminal_id", "amount", "is_fraud"]


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return load_contracts(HANDBOOK)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("amount", FieldSource("amount")),
        (" amount * 100 ", FieldSource("amount", factor=100.0)),
        ("amount/1000", FieldSource("amount", factor=0.001)),
        ("'EUR'", FieldSource(None, constant="EUR")),
    ],
)
def test_a_source_is_a_column_a_scaled_column_or_a_constant(text: str, source: FieldSource) -> None:
    assert FieldSource.parse(text) == source


@pytest.mark.parametrize("text", ["amount * many", "amount * 0", "a * 2 * 3"])
def test_another_source_is_refused(text: str) -> None:
    with pytest.raises(DataFileError, match="expected"):
        FieldSource.parse(text)


def test_the_handbooks_files_need_no_option(contracts: Contracts) -> None:
    mapping = load_mapping(contracts, COLUMNS)
    assert mapping.fields["amount_minor"] == FieldSource("amount", factor=100.0)
    assert mapping.labels["is_fraud"] == FieldSource("is_fraud")
    assert mapping.label_delay_ms == 7 * 86_400_000
    capitals = [name.upper() for name in COLUMNS[:4]] + ["TX_AMOUNT", "TX_FRAUD"]
    assert load_mapping(contracts, capitals).fields["event_ts"] == FieldSource("TX_DATETIME")


def test_an_option_wins_over_the_file(contracts: Contracts) -> None:
    mapping = load_mapping(contracts, [*COLUMNS, "cents"], ["amount_minor=cents"], label_delay_ms=5)
    assert mapping.fields["amount_minor"] == FieldSource("cents")
    assert mapping.label_delay_ms == 5


def test_a_file_without_labels_is_replayed_without_labels(contracts: Contracts) -> None:
    assert load_mapping(contracts, COLUMNS[:-1]).labels == {}


@pytest.mark.parametrize(
    ("columns", "overrides", "message"),
    [
        (["amounts", *COLUMNS[:4]], [], "amount_minor.*nearest: amounts"),
        (COLUMNS, ["amuont_minor=amount"], "nearest: amount_minor"),
        (COLUMNS, ["amount_minor=amuont"], "nearest: amount"),
        (COLUMNS, ["amount_minor"], "FIELD=SOURCE"),
    ],
)
def test_a_missing_column_is_named_with_its_nearest(
    contracts: Contracts, columns: list[str], overrides: list[str], message: str
) -> None:
    with pytest.raises(DataFileError, match=message):
        load_mapping(contracts, columns, overrides)


def test_a_required_field_without_any_column_is_named(tmp_path: Path, contracts: Contracts) -> None:
    bare = Contracts(
        folder=tmp_path,  # no replay.yaml here
        transactions=contracts.transactions,
        labels=contracts.labels,
        decisions=contracts.decisions,
        features_path=contracts.features_path,
    )
    with pytest.raises(DataFileError, match=r"required fields.*event_ts.*--map FIELD=COLUMN"):
        load_mapping(bare, ["transaction_id", "customer_id", "terminal_id", "amount_minor"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "was expected to hold"),
        ("fields: {}", "found fields"),
        ("transactions: {amuont_minor: x}", "amount_minor"),
    ],
)
def test_a_broken_mapping_file_is_explained(
    tmp_path: Path, contracts: Contracts, text: str, message: str
) -> None:
    (tmp_path / "replay.yaml").write_text(text)
    other = Contracts(
        folder=tmp_path,
        transactions=contracts.transactions,
        labels=contracts.labels,
        decisions=contracts.decisions,
        features_path=contracts.features_path,
    )
    with pytest.raises(DataFileError, match=message):
        load_mapping(other, COLUMNS)

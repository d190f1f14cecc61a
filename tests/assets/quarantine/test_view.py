"""What people see of a refused event holds nothing personal, whatever the bytes are."""

import json

import pytest

from fraud_assets.ingestion.verdicts import VIRTUAL_TIME
from fraud_assets.quarantine.reasons import in_words
from fraud_assets.quarantine.view import masked, unmasked
from fraud_core.contracts import Contracts
from tests.assets.quarantine.conftest import MakeEvent

CARD = "4111111111111111"


def test_personal_values_are_masked_and_others_are_seen(contracts: Contracts, event: MakeEvent) -> None:
    shown = masked(
        contracts,
        "transactions",
        event(1, card_id="card_0000067890", country="??", note="Jane Doe", amt=CARD),
    )
    assert isinstance(shown, dict)
    assert (shown["card_id"], shown["country"], shown["amount_minor"]) == ("•••7890", "??", 101)
    assert (shown["note"], shown["amt"]) == ("•••", "•••")


def test_a_card_number_is_hidden_in_whatever_field_it_stands(contracts: Contracts, event: MakeEvent) -> None:
    for fields in ({"merchant_id": CARD}, {"merchant_category": "4111 1111 1111 1111"}, {"amount_minor": int(CARD)},
                   {"reasons": [CARD]}, {CARD: 1}, {"country": {"deep": [CARD]}}):  # fmt: skip
        text = json.dumps(masked(contracts, "transactions", event(1, **fields)))
        assert CARD not in text.replace(" ", ""), fields


def test_a_long_number_is_hidden_also_where_a_long_text_is_cut(
    contracts: Contracts, event: MakeEvent
) -> None:
    for before in range(300, 340):
        text = json.dumps(masked(contracts, "transactions", event(1, merchant_id="1" * before + "," + CARD)))
        assert "41" not in text.partition("merchant_id")[2].partition(",")[2][:20], before
    assert "…" in json.dumps(
        masked(contracts, "transactions", event(1, merchant_id="m" * 400)), ensure_ascii=False
    )


def test_the_payment_inside_a_decision_is_masked_by_its_own_contract(
    contracts: Contracts, event: MakeEvent
) -> None:
    payment = json.loads(event(1, account_id="acc_0000012345"))
    shown = masked(contracts, "decisions", json.dumps({"score": 0.5, "event": payment}).encode())
    assert isinstance(shown, dict)
    assert shown["score"] == 0.5
    assert (shown["event"]["account_id"], shown["event"]["currency"]) == ("•••2345", payment["currency"])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"transaction_id": "tx-1", "card_id": "' + CARD.encode(),
        b'{"card_id": "Jane Doe" "account_id": 4111 1111 1111 1111}',
        b"\xff\xfe Jane Doe 4111111111111111",
        b"[" * 10_000,
        b"",
        b'{"amount_minor": ' + b"9" * 5000 + b"}",
        b'["Jane Doe"]',
    ],
)
def test_bytes_that_cannot_be_read_are_shown_in_outline(contracts: Contracts, payload: bytes) -> None:
    shown = masked(contracts, "transactions", payload)
    assert isinstance(shown, str)
    assert len(shown) < 300
    assert "Jane" not in shown
    assert "4111" not in shown
    assert "9999" not in shown
    if b"card_id" in payload:
        assert "card_id" in shown


def test_unmasked_bytes_can_always_be_printed(event: MakeEvent) -> None:
    assert unmasked(event(1))["transaction_id"] == "tx-00000001"
    assert unmasked(b"\xff{") == "\\xff{"


def test_every_reason_has_words(contracts: Contracts) -> None:
    for stream in ("transactions", "labels", "decisions"):
        for check in contracts.for_stream(stream).checks:
            assert in_words(contracts, stream, check.code) == check.words
    assert "virtual time" in in_words(contracts, "labels", VIRTUAL_TIME)
    assert "payment within" in in_words(contracts, "decisions", "event.country.enum")
    assert "no longer" in in_words(contracts, "labels", "colour.enum")

"""The OpenAPI document is part of the public face."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from fraud_core.contracts import Field, check_event, load_contracts
from fraud_core.features import load_features
from fraud_core.settings import PACKAGED_CONTRACTS
from fraud_serving.http.documents import openapi


@pytest.mark.snapshot
def test_the_openapi_document_is_as_committed(matches_snapshot: Callable[[str, str], None]) -> None:
    contracts = load_contracts(PACKAGED_CONTRACTS)
    features = load_features(contracts.features_path, contracts)
    document = openapi(contracts.transactions, features, "0.0.0")
    matches_snapshot("openapi.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def test_a_new_field_of_the_contract_is_in_the_document_and_allowed_in_a_request() -> None:
    contracts = load_contracts(PACKAGED_CONTRACTS)
    old = contracts.transactions
    new = replace(old, version="1.1.0", fields=(*old.fields, Field("wallet", "string", max_length=20)))
    shown = openapi(new, load_features(contracts.features_path, contracts), "0.0.0")
    assert "1.1.0" in shown["info"]["description"]
    event = shown["components"]["schemas"]["Event"]
    assert event["properties"]["wallet"]["maxLength"] == 20
    assert "wallet" not in event["required"]
    given = {**old.example(), "wallet": "tap"}
    assert [each.code for each in check_event(old, given, 1_788_266_100_000)] == ["row.unknown_field"]
    assert (
        check_event(new, given, 1_788_266_100_000) == check_event(new, old.example(), 1_788_266_100_000) == []
    )

"""The OpenAPI document is part of the public face."""

import json
from collections.abc import Callable

import pytest

from fraud_core.contracts import load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS
from fraud_serving.http.documents import openapi


@pytest.mark.snapshot
def test_the_openapi_document_is_as_committed(matches_snapshot: Callable[[str, str], None]) -> None:
    document = openapi(load_contracts(PACKAGED_CONTRACTS).transactions, "0.0.0")
    matches_snapshot("openapi.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")

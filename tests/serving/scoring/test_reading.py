"""Events from bytes that anybody may send."""

import time
from typing import Any

import pytest

from fraud_core.contracts import parse_json
from fraud_serving.scoring.reading import ContractBroken, NotJson, read_submission
from fraud_serving.scoring.submission import Submission
from tests.serving.samples import default_features, event, payload

DEEP = b"[" * 30_000 + b"]" * 30_000


def read(body: bytes) -> Submission:
    contract, now_ms = default_features().contract, time.time_ns() // 1_000_000
    return read_submission(contract, body, known_ms=now_ms, trace_id="0" * 32, received=0.0)


def with_field(text: bytes, item: dict[str, Any] | None = None) -> bytes:
    return payload(item or event())[:-1] + b"," + text + b"}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        DEEP,
        b'{"transaction_id":' + DEEP + b"}",
        b'{"latitude": NaN}',
        b'{"amount_minor": ' + b"9" * 5000 + b"}",
        with_field(b'"device_id": "\xff"'),
    ],
)
def test_what_is_no_json_is_refused_with_one_error(body: bytes) -> None:
    with pytest.raises(NotJson):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[1]",
        with_field(b'"merchant_id":"mer_000999"'),
        with_field(b'"colour":"red","colour":"blue"'),
        with_field(b'"latitude":1e999', {key: value for key, value in event().items() if key != "latitude"}),
        with_field(b'"device_id":"\\ud800"', {key: value for key, value in event().items() if key != "device_id"}),
        payload(event(amount_minor=10**30)),
        payload(event(amount_minor=-1)),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_has_the_reasons_that_ingestion_finds_while_reading(body: bytes) -> None:
    with pytest.raises(ContractBroken) as broken:
        read(body)
    codes = {violation.code for violation in broken.value.violations}
    found = parse_json(default_features().contract, [body]).found.get(0, ())
    assert set(found) <= codes


def test_a_field_given_twice_is_named_and_one_inside_a_value_is_that_values_affair() -> None:
    with pytest.raises(ContractBroken) as broken:
        read(with_field(b'"merchant_id":"mer_000999"'))
    [violation] = broken.value.violations
    assert violation.code == "row.repeated_field"
    assert "merchant_id" in violation.message
    with pytest.raises(ContractBroken) as broken:
        read(with_field(b'"colour":{"a":1,"a":2}'))
    assert [violation.code for violation in broken.value.violations] == ["row.unknown_field"]

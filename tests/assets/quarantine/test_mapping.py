"""A mapping repairs exactly what it says, keeps numbers exact, and a wrong file is refused with its line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_assets.quarantine import load_mapping
from fraud_assets.quarantine.mapping import Mapping, NotRepairable, Step
from fraud_core.contracts import Contracts
from fraud_core.errors import ContractError, DataFileError
from tests.assets.quarantine.conftest import Steps


def test_steps_are_applied_in_their_order(steps: Steps) -> None:
    mapping = steps(
        """
steps:
  - rename: {field: amt, to: amount_minor}
  - convert: {field: amount_minor, factor: 100}
  - replace: {field: country, from: NO, to: SE}
  - set: {field: currency, value: EUR}
  - drop: {field: debug}
"""
    )
    before = b'{"amt": 0.29, "country": "NO", "debug": {"a": 1}, "latitude": 1.10}'
    assert mapping.apply(before) == b'{"amount_minor":29,"country":"SE","latitude":1.10,"currency":"EUR"}'
    assert mapping.apply(b"{}") == b'{"currency":"EUR"}'


@pytest.mark.parametrize(
    ("value", "factor", "expected"),
    [
        ("12.34", "100", "1234"), ('"12.34"', "100", "1234"), ("0.1", "3", "0.3"), ("1e2", "0.01", "1"),
        ("90071992547409931", "10", "900719925474099310"), ("null", "100", "null"), ("5", "0.001", "0.005"),
    ],
)  # fmt: skip
def test_converted_numbers_are_exact(steps: Steps, value: str, factor: str, expected: str) -> None:
    mapping = steps(f"steps:\n  - convert: {{field: amount_minor, factor: {factor}}}\n")
    assert mapping.apply(f'{{"amount_minor":{value}}}'.encode()).decode() == f'{{"amount_minor":{expected}}}'


@pytest.mark.parametrize("value", ['"many"', "true", "[1]", "1e999999999", "1" * 80, '"1e-999999"'])
def test_what_is_no_number_cannot_be_converted(steps: Steps, value: str) -> None:
    mapping = steps("steps:\n  - convert: {field: amount_minor, factor: 100}\n")
    with pytest.raises(NotRepairable, match="amount_minor is no number"):
        mapping.apply(f'{{"amount_minor":{value}}}'.encode())


@pytest.mark.parametrize(
    ("held", "wanted", "replaced"),
    [
        ('"1"', "1", False),
        ("1", "1", True),
        ("1.0", "1", True),
        ("true", "1", False),
        ("true", "true", True),
        ("1", "true", False),
    ],
)
def test_a_value_is_replaced_only_by_its_own_kind(
    steps: Steps, held: str, wanted: str, *, replaced: bool
) -> None:
    mapping = steps(f"steps:\n  - replace: {{field: channel, from: {wanted}, to: pos}}\n")
    after = mapping.apply(f'{{"channel":{held}}}'.encode()).decode()
    assert after == ('{"channel":"pos"}' if replaced else f'{{"channel":{held}}}')


def test_a_rename_never_covers_a_value_that_is_there(steps: Steps) -> None:
    mapping = steps("steps:\n  - rename: {field: ccy, to: currency}\n")
    assert mapping.apply(b'{"ccy":"EUR","currency":null}') == b'{"currency":"EUR"}'
    with pytest.raises(NotRepairable, match="currency is there beside ccy"):
        mapping.apply(b'{"ccy":"EUR","currency":"USD"}')


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff{}", b'{"a":NaN}', b'{"a":1', b"[" * 100_000])
def test_bytes_that_are_no_event_cannot_be_mapped(steps: Steps, payload: bytes) -> None:
    with pytest.raises(NotRepairable, match=r"row\.unparseable"):
        steps("steps:\n  - drop: {field: a}\n").apply(payload)


def test_a_mapping_does_not_choose_between_two_values_of_one_field(steps: Steps) -> None:
    with pytest.raises(NotRepairable, match=r"row\.repeated_field"):
        steps("steps:\n  - drop: {field: debug}\n").apply(b'{"currency":"EUR","currency":"USD"}')


@hypothesis_settings(max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
                    lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=8))  # fmt: skip
def test_what_a_step_does_not_name_stays_as_it_is(value: object) -> None:
    payload = json.dumps({"kept": value, "debug": 1}).encode()
    after = Mapping((Step("drop", "debug"),)).apply(payload)
    assert json.loads(after) == {"kept": value}


def test_a_field_inside_an_object_is_reached(tmp_path: Path, contracts: Contracts) -> None:
    path = tmp_path / "repair.yaml"
    path.write_text("steps:\n  - set: {field: event.currency, value: EUR}\n  - drop: {field: event.debug}\n")
    mapping = load_mapping(path, contracts.decisions)
    assert mapping.apply(b'{"event":{"debug":1}}') == b'{"event":{"currency":"EUR"}}'
    with pytest.raises(NotRepairable, match="event is no object"):
        mapping.apply(b'{"event":"text"}')


def test_one_mapping_has_one_hash_however_it_is_laid_out(steps: Steps) -> None:
    flow = steps("steps: [{drop: {field: debug}}]\n")
    block = steps("# a comment\nsteps:\n  - drop:\n      field: debug\n")
    assert flow.hash == block.hash != steps("steps: [{drop: {field: other}}]\n").hash
    assert len(flow.hash) == 64


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("steps: []\n", 1, "a list of steps"),
        ("rename: 1\n", 1, "the key steps"),
        ("steps:\n  - renam: {field: a, to: b}\n", 2, "did you mean 'rename'"),
        (
            "steps:\n  - drop: {field: a}\n  - rename: {field: a, to: amount_mino}\n",
            3,
            "did you mean 'amount_minor'",
        ),
        ("steps:\n  - rename: {field: a}\n", 2, "the keys field, to"),
        ("steps:\n  - convert: {field: amount_minor, factor: 0}\n", 2, "a number other than 0"),
        ("steps:\n  - convert: {field: amount_minor, factor: '100'}\n", 2, "a number other than 0"),
        ("steps:\n  - set: {field: currency.code, value: EUR}\n", 2, "of an object"),
        ("steps:\n  - drop: {field: a}\n    set: {field: currency, value: EUR}\n", 2, "one of rename"),
        ("steps: [\n", 2, "valid YAML"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_line(steps: Steps, text: str, line: int, words: str) -> None:
    with pytest.raises(ContractError) as refusal:
        steps(text)
    assert f"repair.yaml:{line}" in str(refusal.value)
    assert words in str(refusal.value)


def test_a_missing_mapping_is_no_contract(tmp_path: Path, contracts: Contracts) -> None:
    with pytest.raises(DataFileError, match=r"nowhere\.yaml"):
        load_mapping(tmp_path / "nowhere.yaml", contracts.transactions)

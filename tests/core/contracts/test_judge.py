"""A batch is judged row by row, at the time each row became known."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_core.contracts import Contract, body_hash, judge, key_of, mask, mask_value, parse_json
from fraud_core.contracts.luhn import is_card_number, looks_like_card_number


def frame(contract: Contract, *changes: dict[str, Any]) -> pl.DataFrame:
    return parse_json(
        contract, [json.dumps({**contract.example(), **change}).encode() for change in changes]
    ).frame


def test_the_future_is_judged_by_each_rows_own_arrival(transactions: Contract) -> None:
    rows = frame(transactions, {}, {}, {})
    at_ms = int(rows["event_ts"].dt.epoch("ms")[0])
    verdict = judge(transactions, rows, np.array([at_ms - 60_000, at_ms - 60_001, at_ms]))
    assert verdict.reasons == {1: ("event_ts.future",)}
    assert verdict.valid.to_list() == [True, False, True]
    assert verdict.counts == {"event_ts.future": 1}


def test_a_batch_that_is_all_bad_gives_every_reason(transactions: Contract) -> None:
    rows = frame(transactions, *({"amount_minor": -1 - row, "channel": "x"} for row in range(500)))
    verdict = judge(transactions, rows, np.full(500, 1_788_266_100_000))
    assert set(verdict.reasons.values()) == {
        ("amount_minor.minimum", "channel.enum", "rule.base_amount_agrees")
    }
    assert verdict.counts["channel.enum"] == 500


def test_infinities_and_nan_in_a_frame_are_violations(transactions: Contract) -> None:
    rows = frame(transactions, {}, {}, {}).with_columns(
        home_latitude=pl.Series([float("nan"), float("inf"), 0.0])
    )
    verdict = judge(transactions, rows, np.full(3, 1_788_266_100_000))
    assert set(verdict.reasons) == {0, 1}
    assert all("home_latitude.not_finite" in codes for codes in verdict.reasons.values())


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("4111111111111111", True), ("4111 1111 1111 1111", True), ("378282246310005", True), ("4111111111111112", False),
        ("card_4111111111111111", False), ("41111111111", False), ("4111--1111-1111-1111", False), ("", False),
        ("0000000000000000", True), ("6304000000000000000", True), ("\u0664111111111111111", False),
    ],
)  # fmt: skip
def test_card_numbers_are_known_by_their_check_digit(text: str, refused: bool) -> None:
    assert is_card_number(text) is refused
    assert looks_like_card_number(pl.Series(["abc", text, None])).to_list() == [False, refused, None]


def test_equal_bodies_have_equal_hashes_however_they_were_written(transactions: Contract) -> None:
    example = transactions.example()
    payloads = [
        json.dumps(example).encode(),
        json.dumps(dict(reversed(example.items())), indent=1).encode(),
        json.dumps({**example, "device_id": None}).encode(),
        json.dumps({key: value for key, value in example.items() if key != "device_id"}).encode(),
        json.dumps({**example, "amount_minor": 1}).encode(),
    ]
    first, again, null, absent, other = body_hash(
        transactions, parse_json(transactions, payloads).frame
    ).to_list()
    assert first == again
    assert null == absent
    assert len({first, null, other}) == 3


def test_a_key_of_several_fields_is_one_text(contracts: Any) -> None:
    rows = frame(contracts.labels, {}, {"source": "analyst"}, {"is_fraud": False})
    keys = rows.select(key_of(contracts.labels)).to_series()
    assert keys[0] == keys[2] != keys[1]


def test_numbers_of_a_key_are_told_apart_by_their_decimals(transactions: Contract) -> None:
    keyed = replace(transactions, key=("transaction_id", "latitude", "event_ts"))
    rows = frame(transactions, *({"latitude": each} for each in (1.2, 1.7, 0.0, -0.0)))
    keys = rows.select(key_of(keyed)).to_series().to_list()
    assert keys[2] == keys[3]
    assert len(set(keys)) == 3


def test_personal_values_are_masked_and_nulls_stay(transactions: Contract) -> None:
    rows = mask(
        transactions, frame(transactions, {}, {"device_id": None, "latitude": None, "longitude": None})
    )
    assert rows["card_id"].to_list() == ["•••7890"] * 2
    assert rows["latitude"].to_list() == ["•••", None]
    assert rows["device_id"].to_list() == ["•••4711", None]
    assert rows["merchant_id"].to_list() == ["mer_000421"] * 2
    assert mask_value(transactions, "card_id", "4111111111111111") == "•••1111"
    assert mask_value(transactions, "somebody", "Jane Doe") == "•••"

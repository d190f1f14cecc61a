"""One event at a time and a batch in frames give the same reason codes: two executions of one contract."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fraud_core.contracts import Contract, Contracts, check_event, judge, load_contracts, parse_json
from fraud_core.settings import PACKAGED_CONTRACTS

NOW_MS = 1_788_266_100_000
CONTRACTS = load_contracts(PACKAGED_CONTRACTS)

WORDS = st.sampled_from([
    "", "x", "EUR", "DE", "NO", "pos", "atm", "ecom", "5411", "4111111111111111", "4111 1111 1111 1111", "abc\n", "a\x00b",
    "é", "\ud800", "\\", '"', '{"a":1}', "}\n{", "2026-09-01T12:34:56.789Z", "2026-02-30T00:00:00Z", "2026-09-01", "2024-02-29",
    "2026-09-01T24:00:00Z", "2026-09-01T12:34:56+00:00", "2026-09-01T12:35:59.9999999Z", "9999-12-31T23:59:59.999999Z",
    "0000-01-01T00:00:00Z", "1999-12-31T23:59:59.999999Z", "\uff11\uff12\uff13\uff14", "a" * 65, "txn_00f3a9c41b7e", "mobile",
])  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), WORDS, st.text(max_size=12), st.integers(-(1 << 65), 1 << 65), st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 90.0, 90.5, -180.0, 1.0, 1e19]),
    st.just({}), st.just([]), st.just({"a": [1, None, "x"]}), st.lists(st.one_of(st.none(), st.floats(width=32), st.text(max_size=3)), max_size=3),
)  # fmt: skip


def faulty(contract: Contract) -> st.SearchStrategy[dict[str, Any]]:
    """Events near the example: some fields changed, dropped or added."""
    names = st.sampled_from([*contract.by_name, "unknown", "event_ts "])
    changes = st.dictionaries(names, VALUES, max_size=4)
    dropped = st.sets(st.sampled_from(list(contract.by_name)), max_size=2)
    base = contract.example()
    return st.builds(
        lambda change, drop: {key: value for key, value in {**base, **change}.items() if key not in drop},
        changes,
        dropped,
    )


def batch_codes(contract: Contract, payloads: list[bytes]) -> list[tuple[str, ...]]:
    parsed = parse_json(contract, payloads)
    assert parsed.frame.height == len(payloads)
    assert dict(parsed.frame.schema) == contract.polars_schema()
    verdict = judge(contract, parsed.frame, np.full(len(payloads), NOW_MS), parsed.found)
    return [verdict.reasons.get(row, ()) for row in range(len(payloads))]


def has_nan(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(has_nan, value))
    return isinstance(value, float) and not math.isfinite(value)


@pytest.mark.parametrize("stream", ["transactions", "labels", "decisions"])
def test_a_single_event_and_a_batch_are_judged_alike(stream: str) -> None:
    contract = CONTRACTS.for_stream(stream)

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.lists(faulty(contract), min_size=1, max_size=12), st.booleans(), st.booleans())
    @example([contract.example()] * 3, True, True)
    def agree(events: list[dict[str, Any]], ascii_only: bool, compact: bool) -> None:
        events = [event for event in events if not any(map(has_nan, event.values()))]
        separators = (",", ":") if compact else (", ", ": ")
        payloads = [
            json.dumps(event, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "surrogatepass")
            for event in events
        ]
        single = []
        for event, payload in zip(events, payloads, strict=True):
            try:
                payload.decode()
            except UnicodeDecodeError:
                single.append(("row.unparseable",))
            else:
                single.append(tuple(each.code for each in check_event(contract, event, NOW_MS)))
        assert batch_codes(contract, payloads) == single

    agree()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"transaction_id": "short"}, "transaction_id.pattern"),
        ({"transaction_id": 12345678}, "transaction_id.type"),
        ({"transaction_id": None}, "transaction_id.required"),
        ({"amount_minor": 42.0}, "amount_minor.type"),
        ({"amount_minor": True}, "amount_minor.type"),
        ({"amount_minor": -1}, "amount_minor.minimum"),
        ({"amount_minor": 1 << 63}, "amount_minor.type"),
        ({"amount_minor": 10_000_000_001}, "amount_minor.maximum"),
        ({"card_id": "4111111111111111"}, "card_id.card_number"),
        ({"card_id": "4111-1111-1111-1111"}, "card_id.card_number"),
        ({"currency": "XXX"}, "currency.enum"),
        ({"country": "de"}, "country.enum"),
        ({"latitude": 91}, "latitude.maximum"),
        ({"latitude": None}, "rule.place_is_complete"),
        ({"card_present": "false"}, "card_present.type"),
        ({"card_present": True}, "rule.card_absent_online"),
        ({"event_ts": "2026-09-01 12:34:56"}, "event_ts.type"),
        ({"event_ts": "2026-09-01T12:36:00.001Z"}, "event_ts.future"),
        ({"card_issued_on": "2026-09-02"}, "rule.card_issued_before_use"),
        ({"amount_base_minor": 1}, "rule.base_amount_agrees"),
        ({"colour": None}, "row.unknown_field"),
    ],
)
def test_each_kind_of_violation_has_its_code(
    transactions: Contract, change: dict[str, Any], code: str
) -> None:
    event = {**transactions.example(), **change}
    now_ms = 1_788_266_100_000
    assert now_ms // 60_000 * 60_000 == now_ms
    violations = check_event(transactions, event, 1_788_266_099_999 - 0)
    assert code in [each.code for each in violations]
    assert code in batch_codes_at(transactions, event, 1_788_266_099_999)


def batch_codes_at(contract: Contract, event: dict[str, Any], known_ms: int) -> tuple[str, ...]:
    parsed = parse_json(contract, [json.dumps(event).encode()])
    return judge(contract, parsed.frame, np.array([known_ms]), parsed.found).reasons.get(0, ())


def test_a_mistyped_value_is_neither_missing_nor_compared(transactions: Contract) -> None:
    event = {**transactions.example(), "latitude": "52.1", "amount_minor": "1"}
    codes = ("amount_minor.type", "latitude.type")
    assert tuple(each.code for each in check_event(transactions, event, NOW_MS)) == codes
    assert batch_codes_at(transactions, event, NOW_MS) == codes


def test_the_example_of_every_contract_is_valid(contracts: Contracts) -> None:
    for name in ("transactions", "labels", "decisions"):
        contract = contracts.for_stream(name)
        assert check_event(contract, contract.example(), 1_900_000_000_000) == []


def test_a_message_repeats_no_personal_value(transactions: Contract) -> None:
    event = {**transactions.example(), "card_id": "4111111111111111", "channel": "pigeon"}
    messages = {each.code: each.message for each in check_event(transactions, event, NOW_MS)}
    assert "4111" not in messages["card_id.card_number"]
    assert "pigeon" in messages["channel.enum"]


def test_an_unknown_field_is_named(transactions: Contract) -> None:
    (violation,) = check_event(transactions, {**transactions.example(), "colour": "red"}, NOW_MS)
    assert "'colour'" in violation.message

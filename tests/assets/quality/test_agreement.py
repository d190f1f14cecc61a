"""Great Expectations and the hot path give the same verdict on generated events."""

import json
import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_assets.quality.suite import KNOWN_AT
from fraud_assets.quality.validation import validate
from fraud_core.contracts import load_contracts, parse_json
from fraud_core.contracts.judge import judge
from fraud_core.settings import PACKAGED_CONTRACTS

NOW_MS = 1_788_266_100_000
CONTRACTS = load_contracts(PACKAGED_CONTRACTS)
ODD: dict[str, list[Any]] = {
    "string": ["", "x", "EUR", "NO", "atm", "moto", "5411", "4111111111111111", "abc\n", "é", "a" * 65, "DE", "٣٣٣٣", "mobile"],
    "integer": [0, -1, 1, 4250, 10_000_000_000, 10_000_000_001, (1 << 53) + 1],
    "number": [0, -0.0, 90, 90.000001, -180.5, 1e308, 0.5],
    "boolean": [True, False],
    "timestamp": ["2026-09-01T12:36:00.000Z", "1999-12-31T23:59:59.999999Z", "2000-01-01T00:00:00Z", "2026-09-01T00:00:00Z"],
    "date": ["1969-12-31", "1970-01-01", "2026-09-01", "2026-09-02"],
    "array": [[]],
    "object": [{}],
}  # fmt: skip


@pytest.mark.parametrize("stream", ["transactions", "labels", "decisions"])
@pytest.mark.parametrize("seed", [1, 2])
def test_both_judges_count_the_same_violations(stream: str, seed: int) -> None:
    contract = CONTRACTS.for_stream(stream)
    chance = random.Random(seed)
    payloads = []
    for row in range(150):
        event = {**contract.example(), contract.event_id: f"event_{seed}_{row:06d}"}
        for field in chance.sample(contract.fields, chance.randint(0, 3)):
            event[field.name] = chance.choice([None, *ODD[field.type]])
        payloads.append(json.dumps(event).encode())
    parsed = parse_json(contract, payloads)
    assert parsed.found == {}
    known_ms = np.full(len(payloads), NOW_MS)
    known_at = pl.Series(KNOWN_AT, known_ms * 1000).cast(pl.Datetime("us", "UTC"))
    gate = judge(contract, parsed.frame, known_ms).counts
    outcomes = validate(contract, parsed.frame.with_columns(known_at))
    assert [each.error for each in outcomes.values() if each.error] == []
    unique = f"{contract.event_id}.duplicate_other_body"
    second = {code: each.violations for code, each in outcomes.items() if each.violations and code != unique}
    assert second == gate
    assert len(gate) > 5

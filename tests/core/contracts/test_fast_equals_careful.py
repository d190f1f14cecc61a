"""The fast reader and the careful one agree on every payload, however mangled: no row is misread for speed."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.contracts import Contract, load_contracts, parse_json
from fraud_core.contracts.parse import read_carefully
from fraud_core.settings import PACKAGED_CONTRACTS

CONTRACTS = load_contracts(PACKAGED_CONTRACTS)
SNIPPETS = st.sampled_from([
    b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b"0", b"-", b".", b"e5", b"E+99", b"1" * 20, b"null", b"true", b"\n", b"\r",
    b"\t", b" ", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\\u00e9", b"\\ud83d\\ude00", b"\\udc00", b"\\u12", b'"x":1', b"\x00", b"\x1f",
    b'"amount_minor":1,', b"Z", b"T", b"1.5", b"NaN", b"\xef\xbb\xbf", b"//", b"'",
])  # fmt: skip
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 4), SNIPPETS | st.binary(max_size=2)), max_size=3
)


def mangle(payload: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, inserted in mutations:
        at = place * len(payload) // 1000
        payload = payload[:at] + inserted + payload[at + removed :]
    return payload


def rows(frame: Any, contract: Contract) -> list[dict[str, Any]]:
    objects = [field.name for field in contract.fields if field.type == "object"]
    found = frame.to_dicts()
    for row in found:
        for name in objects:
            row[name] = None if row[name] is None else json.loads(row[name])
    return found


@pytest.mark.parametrize("stream", ["transactions", "decisions"])
@pytest.mark.parametrize("compact", [True, False])
def test_a_mangled_payload_is_read_alike(stream: str, compact: bool) -> None:
    contract = CONTRACTS.for_stream(stream)
    example = contract.example()
    plain = json.dumps(example, separators=(",", ":") if compact else None).encode()

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(MUTATIONS, min_size=1, max_size=5))
    def alike(batch: list[list[tuple[int, int, bytes]]]) -> None:
        payloads = [mangle(plain, mutations) for mutations in batch]
        parsed = parse_json(contract, payloads)
        frame, found = read_carefully(contract, payloads)
        assert dict(parsed.found) == dict(found)
        assert rows(parsed.frame, contract) == rows(frame, contract)

    alike()


@pytest.mark.parametrize(
    "inserted", [b"\\", b",", b"}", b"]", b":", b'"', b"x", b"[", b"{", b" 1", b"null", b"\n", b"-", b"0"]
)
def test_whatever_is_put_between_two_bytes_is_read_alike(inserted: bytes) -> None:
    contract = CONTRACTS.decisions
    plain = json.dumps(
        {**contract.example(), "seqs": {"account": [1, {}, []], "x": [True, None, "a\\"]}}
    ).encode()
    payloads = [plain[:at] + inserted + plain[at:] for at in range(len(plain))]
    payloads += [plain[:at] + plain[at + 1 :] for at in range(len(plain))]
    parsed = parse_json(contract, payloads)
    frame, found = read_carefully(contract, payloads)
    assert dict(parsed.found) == dict(found)
    assert rows(parsed.frame, contract) == rows(frame, contract)

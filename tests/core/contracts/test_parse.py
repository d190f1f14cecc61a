"""Bytes become typed rows without a silent cast, row for row, and only bad rows pay for being bad."""

import gc
import io
import json
import struct
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.contracts import (
    VIRTUAL_MS,
    Contract,
    Contracts,
    judge,
    load_contracts,
    parse_block,
    parse_json,
    write_block,
)
from fraud_core.contracts import parse as parse_module
from fraud_core.contracts.event import EventCheck
from fraud_core.settings import PACKAGED_CONTRACTS

NOW_MS = 1_788_266_100_000
TRANSACTIONS = load_contracts(PACKAGED_CONTRACTS).transactions


def payload(contract: Contract, **change: Any) -> bytes:
    return json.dumps({**contract.example(), **change}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        (b"", ("row.unparseable",)),
        (b"  ", ("row.unparseable",)),
        (b"null", ("row.unparseable",)),
        (b"[1]", ("row.unparseable",)),
        (b'{"amount_minor":1', ("row.unparseable",)),
        (b'{"amount_minor":NaN}', ("row.unparseable",)),
        (b'{"channel":"\xff"}', ("row.unparseable",)),
        (b"\xef\xbb\xbf{}", ("row.unparseable",)),
        (b"[" * 100_000, ("row.unparseable",)),
        (b'{"amount_minor":1}\n{"amount_minor":2}', ("row.unparseable",)),
        (b'{"amount_minor":1,"amount_minor":1}', ("row.repeated_field",)),
        (b'{"amount_minor":1,"amount\\u005fminor":1}', ("row.repeated_field",)),
        (b'{"channel":7}', ("channel.type",)),
        (b'{"channel":{"a":1}}', ("channel.type",)),
        (b'{"amount_minor":1.0}', ("amount_minor.type",)),
        (b'{"amount_minor":1e2}', ("amount_minor.type",)),
        (b'{"amount_minor":"1"}', ("amount_minor.type",)),
        (b'{"latitude":"1"}', ("latitude.type",)),
        (b'{"card_present":1}', ("card_present.type",)),
        (b'{"zz":null}', ("row.unknown_field",)),
        (b'{"channel":"\\ud800"}', ("channel.type",)),
        (b'{"event_ts":"2026-02-29T00:00:00Z"}', ("event_ts.type",)),
        (b'{"event_ts":"2026-09-01T12:00:60Z"}', ("event_ts.type",)),
        (b'{"event_ts":1788266096789}', ("event_ts.type",)),
        (b'{"latitude":1e400}', ()),
        (b"{}", ()),
        (b'\t{ "amount_minor" : 1 }\r', ()),
        (b'{\n"amount_minor": 1\n}', ()),
    ],
)
@pytest.mark.compiles
def test_reading_finds_what_is_not_as_typed(
    transactions: Contract, raw: bytes, codes: tuple[str, ...]
) -> None:
    good = payload(transactions)
    parsed = parse_json(transactions, [good, raw, good])
    assert parsed.frame.height == 3
    assert parsed.found.get(1, ()) == codes
    assert set(parsed.found) <= {1}
    assert parsed.payload(1) == raw
    assert parsed.frame.row(0) == parsed.frame.row(2)
    assert None not in parsed.frame.row(2)


def test_a_number_in_a_text_column_never_becomes_text(transactions: Contract) -> None:
    parsed = parse_json(transactions, [payload(transactions), payload(transactions, merchant_category=5411)])
    assert parsed.frame["merchant_category"].to_list() == ["5411", None]
    assert parsed.found == {1: ("merchant_category.type",)}


def test_text_is_read_as_it_was_written(transactions: Contract) -> None:
    texts = ["é", "😀", 'a"b', "a\\b", "a\nb", "a/b", "\x00", "}\n{", "日本"]
    payloads = [payload(transactions, merchant_id=text) for text in texts]
    payloads += [
        json.dumps({**transactions.example(), "merchant_id": text}, ensure_ascii=False).encode()
        for text in texts
    ]
    parsed = parse_json(transactions, payloads)
    assert parsed.found == {}
    assert parsed.frame["merchant_id"].to_list() == texts * 2


def test_numbers_keep_every_digit(transactions: Contract) -> None:
    whole = [0, -1, 10**18 - 1, 10**18, (1 << 63) - 1, -(1 << 63)]
    fractions = [0.1, 1e-7, 5e-324, 1.7976931348623157e308, 123456789.12345679, 3]
    parsed = parse_json(
        transactions,
        [payload(transactions, amount_minor=a, latitude=b) for a, b in zip(whole, fractions, strict=True)],
    )
    assert parsed.found == {}
    assert parsed.frame["amount_minor"].to_list() == whole
    assert parsed.frame["latitude"].to_list() == fractions


def test_instants_agree_with_python(transactions: Contract) -> None:
    texts = [
        "1970-01-01T00:00:00Z",
        "2024-02-29T23:59:59.999999Z",
        "2000-03-01T00:00:00.5Z",
        "9999-12-31T23:59:59Z",
    ]
    parsed = parse_json(transactions, [payload(transactions, event_ts=text) for text in texts])
    expected = pl.Series("event_ts", texts).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC"
    )
    assert parsed.frame["event_ts"].to_list() == expected.to_list()


def test_rows_keep_their_places_across_chunks(
    transactions: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse_module, "CHUNK_ROWS", 7)
    payloads = [b"{" if row % 5 == 3 else payload(transactions, amount_minor=row) for row in range(50)]
    parsed = parse_json(transactions, payloads)
    assert parsed.frame["amount_minor"].to_list() == [None if row % 5 == 3 else row for row in range(50)]
    assert set(parsed.found) == {row for row in range(50) if row % 5 == 3}


def test_texts_of_every_length_keep_their_bytes(transactions: Contract) -> None:
    texts = ["x" * size + "é" * high for size in range(40) for high in (0, 1)]
    texts += ["\n" * size + "x" * more for size in range(1, 16) for more in (0, 3)]
    payloads = [payload(transactions, merchant_id=text) for text in texts]
    payloads += [
        json.dumps({**transactions.example(), "merchant_id": text}, ensure_ascii=False).encode()
        for text in texts
    ]
    parsed = parse_json(transactions, payloads)
    assert parsed.found == {}
    assert parsed.frame["merchant_id"].to_list() == texts * 2
    assert parsed.frame[::7].rechunk()["merchant_id"].to_list() == (texts * 2)[::7]


def test_a_frame_outlives_the_bytes_it_was_read_from(transactions: Contract) -> None:
    frame = parse_json(
        transactions, [payload(transactions, merchant_id=f"merchant-{row:020}") for row in range(99)]
    ).frame
    gc.collect()
    _ = [bytearray(1 << 16) for _ in range(99)]
    assert frame["merchant_id"].to_list() == [f"merchant-{row:020}" for row in range(99)]


@given(
    st.lists(
        st.from_regex(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,26})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
        min_size=1,
    )
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_number_is_read_as_python_reads_it(written: list[str]) -> None:
    contract = TRANSACTIONS
    parsed = parse_json(contract, [b'{"latitude":%s}' % text.encode() for text in written])
    expected = [EventCheck(contract).read({"latitude": json.loads(text)})[0]["latitude"] for text in written]
    assert [struct.pack("<d", value) for value in parsed.frame["latitude"]] == [
        struct.pack("<d", v) for v in expected
    ]


def test_an_object_keeps_its_text_among_broken_rows(contracts: Contracts) -> None:
    decisions = contracts.decisions
    raw = b'{"amount":1.0,"big":1e22, "text":"}\\u00e9"}'
    line = payload(decisions, event="@").replace(b'"@"', raw)
    parsed = parse_json(
        decisions, [b"{", line, b"{", payload(decisions, event="@").replace(b'"@"', b'{"a":1}'), b""]
    )
    assert parsed.frame["event"].to_list() == [None, raw.decode(), None, '{"a":1}', None]
    assert set(parsed.found) == {0, 2, 4}


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize(("levels", "codes"), [(60, ()), (61, ("event.type",)), (900, ("event.type",))])
def test_how_deep_an_object_may_be_does_not_rest_on_who_reads_it(
    contracts: Contracts, levels: int, codes: tuple[str, ...], escaped: bool
) -> None:
    """Beside an escaped key the careful reader has the row, which Python's own limit would have refused near a full stack."""
    rest = {name: value for name, value in contracts.decisions.example().items() if name != "event"}
    inner = b'{"a":' * (levels - 1) + b"[]" + b"}" * (levels - 1)
    row = json.dumps(rest).encode()[:-1] + b',"%s":%s}' % (b"\\u0065vent" if escaped else b"event", inner)
    parsed = parse_json(contracts.decisions, [row])
    assert parsed.found == ({0: codes} if codes else {})
    assert parsed.frame["event"].is_null()[0] is bool(codes)


def test_lists_hold_exactly_their_items(contracts: Contracts) -> None:
    decisions = contracts.decisions
    good = payload(decisions, vector=[1, None, 0.1], reasons=["a", "é"])
    parsed = parse_json(decisions, [good, payload(decisions, reasons=[1]), payload(decisions, vector=["1"])])
    assert parsed.frame["vector"].to_list()[0] == pl.Series([1, None, 0.1], dtype=pl.Float32).to_list()
    assert parsed.frame["reasons"].to_list()[0] == ["a", "é"]
    assert parsed.found == {1: ("reasons.type",), 2: ("vector.type",)}


def test_nothing_gives_an_empty_frame(transactions: Contract) -> None:
    parsed = parse_json(transactions, [])
    assert parsed.frame.height == 0
    assert dict(parsed.frame.schema) == transactions.polars_schema()
    assert judge(transactions, parsed.frame, pl.Series([], dtype=pl.Int64)).reasons == {}


def test_a_block_returns_the_rows_that_were_written(transactions: Contract) -> None:
    frame = parse_json(transactions, [payload(transactions, amount_minor=row) for row in range(100)]).frame
    parsed = parse_block(transactions, write_block(frame))
    assert parsed.found == {}
    assert parsed.frame.equals(frame)
    assert json.loads(parsed.payload(7)) == {**transactions.example(), "amount_minor": 7}


def test_a_block_may_say_when_its_rows_became_known(transactions: Contract) -> None:
    frame = parse_json(transactions, [payload(transactions)] * 3).frame
    parsed = parse_block(transactions, write_block(frame.with_columns(pl.Series(VIRTUAL_MS, [1, 2, 3]))))
    assert parsed.found == {}
    assert parsed.virtual_ms is not None
    assert parsed.virtual_ms.to_list() == [1, 2, 3]
    assert VIRTUAL_MS not in parsed.frame.columns


def test_a_block_of_other_types_is_violations_with_their_rows_kept(transactions: Contract) -> None:
    frame = parse_json(transactions, [payload(transactions)] * 2).frame
    wrong = frame.with_columns(pl.col("amount_minor").cast(pl.Int32), colour=pl.lit("red")).drop(
        "channel", "device_id"
    )
    parsed = parse_block(transactions, write_block(wrong))
    verdict = judge(transactions, parsed.frame, pl.Series([NOW_MS] * 2), parsed.found)
    assert verdict.reasons[0] == ("row.unknown_field", "amount_minor.type", "channel.required")
    assert not verdict.valid.any()
    assert json.loads(parsed.payload(1))["amount_minor"] == 4250


@pytest.mark.parametrize("us", [2**63 - 1, -(2**62), 253_402_300_800_000_000, -62_135_596_800_000_001])
def test_an_instant_beyond_the_calendar_is_mistyped_and_kept_as_the_number_it_was(
    transactions: Contract, us: int
) -> None:
    frame = parse_json(transactions, [payload(transactions)] * 2).frame
    days = pl.Series([None, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    times = frame["event_ts"].cast(pl.Int64).scatter(0, us).cast(pl.Datetime("us", "UTC"))
    written = transactions.example()["event_ts"]
    parsed = parse_block(transactions, write_block(frame.with_columns(event_ts=times, card_issued_on=days)))
    verdict = judge(transactions, parsed.frame, [NOW_MS] * 2, parsed.found)
    assert verdict.reasons == {0: ("event_ts.type",), 1: ("card_issued_on.type",)}
    assert json.loads(parsed.payload(0))["event_ts"] == us
    kept = json.loads(parsed.payload(1))
    assert (kept["event_ts"], kept["card_issued_on"]) == (written, 2**31 - 1)


def test_bytes_that_are_no_block_are_one_row_kept_as_bytes(transactions: Contract) -> None:
    buffer = io.BytesIO()
    transactions_frame = parse_json(transactions, [payload(transactions)] * 50).frame
    transactions_frame.write_ipc_stream(buffer, compression="zstd")
    for broken in (b"", b"no arrow", buffer.getvalue()[:-200]):
        parsed = parse_block(transactions, broken)
        assert parsed.found == {0: ("row.unparseable",)}
        assert parsed.payload(0) == broken
        assert judge(transactions, parsed.frame, [NOW_MS], parsed.found).reasons == {0: ("row.unparseable",)}

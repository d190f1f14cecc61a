"""Whatever a producer puts on the log ends in quarantine with a reason, beside the good events, and ingestion goes on."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import Lake
from fraud_core.contracts import Contracts, parse_json
from fraud_core.log import BLOCK, Entry, Log, block_entry, encode_block, json_entry
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey
MakeEvent = Callable[..., bytes]

UNREADABLE = {
    "nothing": b"",
    "no_json": b"{",
    "no_utf8": b'{"transaction_id": "\xff"}',
    "utf16": '{"transaction_id": "x"}'.encode("utf-16"),
    "a_list": b"[]",
    "a_number": b"1",
    "null": b"null",
    "two_events": b"{}\n{}",
    "newline_inside": b'{"transaction_id"\n}\n{',
    "nul_bytes": b"\x00" * 64,
    "deep_list": b"[" * 100_000,
    "deep_object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "digits_without_end": b'{"amount_minor": ' + b"9" * 60_000 + b"}",
    "nan": b'{"latitude": NaN}',
    "infinity": b'{"latitude": -Infinity}',
}
FIELDS = {
    '"amount_minor": 9223372036854775808': "amount_minor.type",
    '"amount_minor": -9223372036854775809': "amount_minor.type",
    '"amount_minor": 1.0': "amount_minor.type",
    '"amount_minor": true': "amount_minor.type",
    '"amount_minor": "100"': "amount_minor.type",
    '"latitude": 1e999': "latitude.not_finite",
    '"currency": "EUR", "currency": "EUR"': "row.repeated_field",
    '"colour": "red"': "row.unknown_field",
    '"country": ' + "[" * 500 + "]" * 500: "country.type",
    f'"account_id": "{"a" * (1 << 20)}"': "account_id.max_length",
    '"account_id": "acc_\\ud800"': "account_id.type",
    '"event_ts": "2016-12-31T23:59:60Z"': "event_ts.type",
}


def spelt(payload: bytes, text: str) -> bytes:
    """The event with a field spelt out as `text`, in place of its own."""
    kept = {name: value for name, value in json.loads(payload).items() if not text.startswith(f'"{name}"')}
    return f"{json.dumps(kept)[:-1]}, {text}}}".encode()


def test_every_bad_event_is_kept_with_its_reason_and_its_bytes(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    sent = [(payload, "row.unparseable") for payload in UNREADABLE.values()]
    sent += [(spelt(event(100 + number), text), code) for number, (text, code) in enumerate(FIELDS.items())]
    for number, (payload, _) in enumerate(sent):  # each beside a good one
        log.append("transactions", [json_entry(payload), json_entry(event(number))])
    totals = run_ingest(settings, ["transactions"])
    assert (totals.valid, totals.violations, totals.duplicates) == (len(sent), len(sent), 0)
    held = lake.scan("quarantine_transactions").sort("_offset").collect()
    assert held["payload"].to_list() == [payload for payload, _ in sent]
    for (_, code), reasons in zip(sent, held["reasons"].to_list(), strict=True):
        assert code in reasons
    assert verify(settings).ok


@pytest.mark.parametrize("size", [5_000_000, pytest.param(50_000_000, marks=pytest.mark.slow)])
def test_an_event_of_many_megabytes_is_kept_and_the_next_ones_are_read(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, size: int
) -> None:
    huge = spelt(event(1), f'"account_id": "{"a" * size}"')
    log.append("transactions", [json_entry(huge), json_entry(event(2))])
    totals = run_ingest(settings, ["transactions"])
    assert (totals.valid, totals.violations) == (1, 1)
    held = lake.scan("quarantine_transactions").select("reasons", pl.col("payload").bin.size()).collect()
    assert held.row(0) == (["account_id.max_length"], len(huge))


def blocks(good: pl.DataFrame) -> dict[str, tuple[bytes, str | None]]:
    """Blocks of three events with the code that each of them gets; None for a block that holds no event."""
    whole = encode_block(good)
    parquet = io.BytesIO()
    good.write_parquet(parquet)
    feather = good.write_ipc(None, compression="zstd").getvalue()
    text = pl.Series(["x"] * 3)
    return {
        "dictionary": (encode_block(good.with_columns(pl.col("currency").cast(pl.Categorical))), "currency.type"),
        "enum": (encode_block(good.with_columns(pl.col("country").cast(pl.Enum(["DE"])))), "country.type"),
        "other_integer": (encode_block(good.with_columns(pl.col("amount_minor").cast(pl.Int32))), "amount_minor.type"),
        "other_time": (encode_block(good.with_columns(pl.col("event_ts").cast(pl.Datetime("ms", "UTC")))), "event_ts.type"),
        "nested": (encode_block(good.with_columns(currency=pl.struct(text.alias("a")))), "currency.type"),
        "binary": (encode_block(good.with_columns(pl.col("card_id").cast(pl.Binary))), "card_id.type"),
        "nulls": (encode_block(good.with_columns(currency=pl.lit(None))), "currency.type"),
        "more_columns": (encode_block(good.with_columns(colour=text)), "row.unknown_field"),
        "other_columns": (encode_block(pl.DataFrame({"a": [1, 2, 3]})), "row.unknown_field"),
        "no_rows": (encode_block(good.clear()), None),
        "no_columns": (encode_block(pl.DataFrame()), None),
        "nothing": (b"", "row.unparseable"),
        "cut_off": (whole[: len(whole) // 2], "row.unparseable"),
        "not_zstd": (_with_spoilt_zstd(whole), "row.unparseable"),
        "impossible_size": (_with_impossible_size(whole), "row.unparseable"),
        "feather": (feather, "row.unparseable"),
        "parquet": (parquet.getvalue(), "row.unparseable"),
        "json": (b'{"transaction_id": "x"}', "row.unparseable"),
    }  # fmt: skip


def _with_spoilt_zstd(block: bytes) -> bytes:
    at = block.rindex(b"\x28\xb5\x2f\xfd")  # the magic number of a compressed buffer
    return block[:at] + b"\x00" * 8 + block[at + 8 :]


def _with_impossible_size(block: bytes) -> bytes:
    at = block.index(b"\x28\xb5\x2f\xfd") - 8  # the size that the buffer is said to unpack to
    return block[:at] + (1 << 61).to_bytes(8, "little") + block[at + 8 :]


def test_every_bad_block_is_kept_and_none_ends_the_process(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, contracts: Contracts
) -> None:
    good = parse_json(contracts.transactions, [event(number, country="DE") for number in (1, 2, 3)]).frame
    cases = blocks(good)
    for payload, _ in cases.values():
        log.append("transactions", [Entry(BLOCK, payload, events=3)])
    log.append("transactions", [block_entry(good)])
    totals = run_ingest(settings, ["transactions"])
    assert totals.valid == 3
    held = lake.scan("quarantine_transactions").sort("_offset", "_index").collect()
    expected = [code for _, code in cases.values() if code is not None]
    found = [
        reasons
        for (_,), part in held.group_by("_offset", maintain_order=True)
        for reasons in [part["reasons"][0].to_list()]
    ]
    assert len(found) == len(expected)
    for code, reasons, name in zip(expected, found, (n for n, (_, c) in cases.items() if c), strict=True):
        assert code in reasons, name
    whole = held.filter(pl.col("reasons").list.contains("row.unparseable"))
    assert set(whole["payload"]) == {payload for payload, code in cases.values() if code == "row.unparseable"}
    assert held["known_at"].max() < datetime.now(UTC)  # type: ignore[operator]
    assert verify(settings).ok

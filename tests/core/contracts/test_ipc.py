"""Sizes in a block are compared with its bytes before anybody allocates by them: polars would abort the process."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_core.contracts import (
    VIRTUAL_MS,
    Parsed,
    load_contracts,
    parse_block,
    parse_blocks,
    parse_json,
    write_block,
)
from fraud_core.contracts.ipc import MAX_ROWS, BadStream, check_stream
from fraud_core.settings import PACKAGED_CONTRACTS

CONTRACT = load_contracts(PACKAGED_CONTRACTS).transactions
BLOCK = write_block(pl.DataFrame({"transaction_id": ["tx-00000001"] * 40, "amount_minor": list(range(40)), "country": [None, "DE"] * 20}))  # fmt: skip


def test_sound_streams_pass() -> None:
    check_stream(BLOCK)
    check_stream(write_block(pl.DataFrame()))
    frame = pl.DataFrame({"a": pl.Series(["x", "y"], dtype=pl.Categorical), "b": [[1], [2, 3]]})
    check_stream(frame.write_ipc_stream(None, compression="uncompressed").getvalue())
    check_stream(frame.write_ipc_stream(None, compression="lz4").getvalue())


@pytest.mark.parametrize(
    "block", [b"", b"\xff\xff\xff\xff", b"\xff" * 64, b"\x00" * 64, BLOCK[:100], b"ARROW1\x00\x00" + BLOCK]
)
def test_what_is_no_stream_is_refused(block: bytes) -> None:
    with pytest.raises(BadStream):
        check_stream(block)


def test_a_few_bytes_cannot_ask_for_rows_that_fill_the_memory() -> None:
    """Rows of nothing but nulls take no bytes, and a stream may have any number of batches of them."""
    whole = pl.DataFrame({"a": pl.repeat(None, MAX_ROWS, eager=True)}).write_ipc_stream(None).getvalue()
    rows = check_stream(whole)
    assert rows.rows == MAX_ROWS
    twice = whole[: rows.end] + whole[rows.schema_end :]
    assert len(twice) < 10**6
    with pytest.raises(BadStream, match="more than 1048576 rows"):
        check_stream(twice)
    assert parse_block(CONTRACT, twice).found == {0: ("row.unparseable",)}


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.integers(0, len(BLOCK) - 9),
    st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, (1 << 61).to_bytes(8, "little")]),
)
def test_a_spoilt_block_is_read_or_kept_as_bytes_and_never_ends_the_process(at: int, spoilt: bytes) -> None:
    block = BLOCK[:at] + spoilt + BLOCK[at + len(spoilt) :]
    parsed = parse_block(CONTRACT, block)
    if any("row.unparseable" in codes for codes in parsed.found.values()):
        assert parsed.payload(0) == block


def block_rows(count: int, first: int = 0) -> pl.DataFrame:
    example = [{**CONTRACT.example(), "transaction_id": f"tx-{first + row:08d}"} for row in range(count)]
    return parse_json(CONTRACT, [json.dumps(row).encode() for row in example]).frame


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["whole", "two", "none", "virtual", "lz4", "wrong", "spoilt", "cut", "no stream"]),
        max_size=12,
    )
)
def test_blocks_read_together_are_those_read_one_by_one(kinds: list[str]) -> None:
    blocks = []
    for place, kind in enumerate(kinds):
        rows = block_rows(3, 10 * place)
        if kind == "virtual":
            rows = rows.with_columns(pl.Series(VIRTUAL_MS, [place, None, 2]))
        elif kind == "wrong":
            rows = rows.with_columns(pl.col("amount_minor").cast(pl.String), other=pl.lit(1))
        elif kind == "none":
            rows = rows.clear()
        elif kind == "two":
            rows = pl.concat([rows, block_rows(2, 10 * place + 5)], rechunk=False)
        block = rows.write_ipc_stream(None, compression="lz4" if kind == "lz4" else "zstd").getvalue()
        if kind == "spoilt":
            block = block[:-200] + b"\xff" * 100 + block[-100:]
        blocks.append({"cut": block[:-40], "no stream": b"nothing"}.get(kind, block))
    together = parse_blocks(CONTRACT, blocks)
    alone = [parse_block(CONTRACT, block) for block in blocks]
    heights = [height for each, _ in together for height in each]
    assert heights == [each.frame.height for each in alone]
    assert all(sum(each) == parsed.frame.height for each, parsed in together)
    assert [each for _, parsed in together for each in read_out(parsed)] == [
        each for parsed in alone for each in read_out(parsed)
    ]


def read_out(parsed: Parsed) -> list[tuple[object, ...]]:
    """Everything that is said of each row."""
    virtual = parsed.virtual_ms
    return [
        (
            parsed.frame.row(row),
            parsed.found.get(row),
            parsed.payload(row),
            None if virtual is None else virtual[row],
        )
        for row in range(parsed.frame.height)
    ]


def test_blocks_of_one_schema_are_read_with_one_call() -> None:
    blocks = [write_block(block_rows(3, 10 * place)) for place in range(20)]
    [(heights, parsed)] = parse_blocks(CONTRACT, blocks)
    assert heights == [3] * 20
    assert parsed.frame["transaction_id"].n_unique() == 60

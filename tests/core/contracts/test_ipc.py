"""Sizes in a block are compared with its bytes before anybody allocates by them: polars would abort the process."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_core.contracts import load_contracts, parse_block, write_block
from fraud_core.contracts.ipc import BadStream, check_stream
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

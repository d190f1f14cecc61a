"""A large read of Redis takes another way than small ones, and says the same."""

import polars as pl
import pytest

from fraud_core.log import Log, block_entry, json_entry

pytestmark = pytest.mark.valkey


def test_what_is_read_in_one_piece_is_what_is_read_in_many(log: Log) -> None:
    (shard,) = log.shards("transactions")
    texts = (b"\r\n" * (number % 3) + b"x" * (number % 700) for number in range(3_000))
    log.append("transactions", [json_entry(b'{"text":"%s"}' % text) for text in texts])
    middle = log.end(shard)
    block = block_entry(pl.DataFrame({"n": [1, 2]}))
    more = [json_entry(b'{"n":%d}' % number) for number in range(2_000)]
    log.append("transactions", [json_entry(b"[", virtual_ms=17), block, *more])
    end = log.end(shard)
    for after, upto in ((0, middle), (0, end), (middle, end)):
        whole, pieces, at = log.read(shard, after, upto, 100_000), [], after
        while len(piece := log.read(shard, at, upto, 999)):
            pieces.append(piece)
            at = piece.end
        assert list(whole.payloads) == [payload for piece in pieces for payload in piece.payloads]
        assert whole.offsets.tolist() == [offset for piece in pieces for offset in piece.offsets.tolist()]
        assert whole.virtual_ms.tolist() == [ms for piece in pieces for ms in piece.virtual_ms.tolist()]
        assert whole.kinds == [kind for piece in pieces for kind in piece.kinds]
        assert whole.end == upto
    assert len(log.read(shard, end, end, 100_000)) == 0

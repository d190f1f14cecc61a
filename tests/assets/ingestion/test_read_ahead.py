"""What is read ahead is used only where it is exactly what the next plan asks for."""

from collections.abc import Callable

import pytest

from fraud_assets.ingestion.plan import Plan
from fraud_assets.ingestion.read_ahead import ReadAhead
from fraud_assets.ingestion.reading import read_batch
from fraud_assets.ingestion.verdicts import judge_alone
from fraud_core.contracts import Contracts
from fraud_core.log import json_entry, open_log
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey


def test_a_guess_is_taken_by_its_own_plan_alone(
    settings: Settings, contracts: Contracts, event: Callable[..., bytes]
) -> None:
    log = open_log(settings)
    offsets = log.append("transactions", [json_entry(event(number)) for number in range(12)])
    (shard,) = log.shards("transactions")
    (other,) = log.shards("labels")
    ahead = ReadAhead(open_log(settings), contracts)

    def plan(start: int, end: int, judged: bool = False) -> Plan:
        return Plan(start, end, (), judged=judged)

    ahead.begin(shard, offsets[3], offsets[-1], 4)
    ahead.begin(other, 0, 1, 4)  # one batch at a time
    assert ahead.take(other, plan(0, 1), 4) is None
    taken = ahead.take(shard, plan(offsets[3], offsets[-1]), 4)
    read = read_batch(log, shard, plan(offsets[3], offsets[-1]), contracts, 4)
    assert taken is not None
    batch, judged = taken
    assert batch.rows.equals(read.rows)
    assert judged == judge_alone(contracts, read)
    assert (batch.start, batch.end) == (read.start, read.end) == (offsets[3], offsets[7])
    for wrong in (
        plan(offsets[2], offsets[-1]),
        plan(offsets[3], offsets[6]),
        plan(offsets[3], offsets[-1], judged=True),
    ):
        ahead.begin(shard, offsets[3], offsets[-1], 4)
        assert ahead.take(shard, wrong, 4) is None
    ahead.begin(shard, offsets[9], offsets[10], 40)  # little was read, and more is there: read anew
    assert ahead.take(shard, plan(offsets[9], offsets[-1]), 40) is None
    ahead.close()
    log.close()

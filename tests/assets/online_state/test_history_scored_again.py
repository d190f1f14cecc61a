"""A payment that a rebuild folded as history and that is scored over HTTP after that, under the same id.

The online state holds no ids of its history, so it counts the payment a second time; the lake knows it once, as the decision's
copy. What follows is stated here: the difference is counted and named, it stays with that payment's entities, and it is gone with
the next rebuild.
"""

import json
from typing import Any

import pytest

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake
from fraud_assets.online_state import rebuild_state
from fraud_assets.online_state.verify import StateProof, verify_state
from fraud_core.log import Log, json_entry
from fraud_core.settings import Settings
from tests.assets.history import decide, declarations, now_payments
from tests.assets.monitoring.test_parity import compare

pytestmark = [pytest.mark.valkey, pytest.mark.slow]


def rebuild(settings: Settings, lake: Lake, log: Log) -> None:
    rebuild_state(settings, lake, log, *declarations(settings))


def proof(settings: Settings, lake: Lake, log: Log) -> StateProof:
    return verify_state(settings, lake, log, *declarations(settings), sample=0)


def decided(settings: Settings, payments: list[dict[str, Any]]) -> None:
    decide(settings, payments)
    run_ingest(settings)


def test_it_counts_twice_until_the_next_rebuild_and_is_counted_as_a_difference(
    settings: Settings, lake: Lake, log: Log
) -> None:
    [payment] = now_payments(1)
    log.append("transactions", [json_entry(json.dumps(payment).encode())])
    run_ingest(settings)
    rebuild(settings, lake, log)
    assert proof(settings, lake, log).ok

    decided(settings, [payment])
    found = compare(settings, lake)
    assert found.compared == found.decisions == 1
    assert found.first_difference is not None
    assert found.first_difference["event_id"] == payment["transaction_id"]
    state = proof(settings, lake, log)
    _, features = declarations(settings)
    ids = {name: payment.get(plan.rule.field) for name, plan in features.plans.items()}
    mine = {f"{name} {id}" for name, id in ids.items() if id is not None}
    assert state.differing == len(mine)
    assert all(any(who in words for who in mine) for words in state.differences)

    rebuild(settings, lake, log)
    assert proof(settings, lake, log).ok
    decided(settings, [payment | {"transaction_id": "txn_after_the_rebuild"}])
    after = compare(settings, lake)
    assert after.compared == 2
    assert after.mismatches == found.mismatches

"""An epoch that has been in use for weeks: its states have counted what lies further back than a horizon, and some have expired."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import open_lake
from fraud_assets.online_state import push_label_effects, rebuild_state
from fraud_assets.online_state.verify import StateProof, verify_state
from fraud_core.features import OnlineState
from fraud_core.features.calls import StateCalls, entity_key
from fraud_core.log import Log, json_entry
from fraud_core.settings import Settings
from tests.assets.history import decide, declarations

pytestmark = pytest.mark.valkey


def payments(settings: Settings, *days_ago: float) -> list[dict[str, Any]]:
    """Payments of one account, card, merchant and device."""
    contracts, _ = declarations(settings)
    now = datetime.now(UTC) - timedelta(minutes=5)
    return [
        contracts.transactions.example()
        | {
            "transaction_id": f"txn_{ago:08.3f}".replace(".", "_"),
            "event_ts": (now - timedelta(days=ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        for ago in days_ago
    ]


def sent_in_time(log: Log, sent: list[dict[str, Any]]) -> None:
    """Each known when it happened."""
    entries = []
    for payment in sent:
        known_ms = int(datetime.fromisoformat(payment["event_ts"]).timestamp() * 1000) + 1000
        entries.append(json_entry(json.dumps(payment).encode(), known_ms))
    log.append("transactions", entries)


def aged(settings: Settings, epoch: int, days: float) -> None:
    """Let the epoch have been built so long ago."""
    _, features = declarations(settings)
    with redis.Redis.from_url(settings.redis_address) as client:
        key = StateCalls(features, settings.namespace).epochs_key
        record = json.loads(client.hget(key, str(epoch)))
        record["created_ms"] -= int(days * 86_400_000)
        client.hset(key, str(epoch), json.dumps(record))


def verified(settings: Settings, log: Log) -> StateProof:
    return verify_state(settings, open_lake(settings), log, *declarations(settings), sample=0)


def test_what_a_state_has_counted_stays_counted_when_it_lies_further_back_than_a_horizon(
    settings: Settings, log: Log
) -> None:
    """… nor is a payment counted that a rebuild left out for its age, when it is labelled after all."""
    old, *counted = payments(settings, 95, 85, 50, 0)
    sent_in_time(log, [old, *counted])
    run_ingest(settings)
    epoch = rebuild_state(settings, open_lake(settings), log, *declarations(settings)).rebuilt.epoch
    fresh = verified(settings, log)
    assert (fresh.differences, fresh.compared) == ([], 4)
    aged(settings, epoch, 20)
    report = declarations(settings)[0].labels.example() | {
        "transaction_id": old["transaction_id"], "event_ts": old["event_ts"], "reported_at": counted[-1]["event_ts"], "is_fraud": True,
    }  # fmt: skip
    log.append("labels", [json_entry(json.dumps(report).encode())])
    run_ingest(settings)
    assert push_label_effects(settings, open_lake(settings), *declarations(settings)).added > 0
    later = verified(settings, log)
    assert (later.differences, later.compared) == ([], 4)


@pytest.mark.slow
def test_a_state_that_expired_and_began_anew_is_compared_by_its_own_count(
    settings: Settings, log: Log
) -> None:
    run_ingest(settings)
    epoch = rebuild_state(settings, open_lake(settings), log, *declarations(settings)).rebuilt.epoch
    before, after, unlogged = payments(settings, 60, 0.01, 0)
    decide(settings, [before], in_time=True)
    with redis.Redis.from_url(settings.redis_address) as client:
        # As its time to live would have done a month ago.
        assert client.delete(entity_key(settings.namespace, epoch, "card", before["card_id"]))
        decide(settings, [after])
        run_ingest(settings)
        proof = verified(settings, log)
        assert (proof.differences, proof.compared, proof.in_flight) == ([], 4, 0)
        state = OnlineState(client, declarations(settings)[1], settings.namespace)
        state.load()
        state.apply(unlogged, unlogged["transaction_id"])
    named = {words.split()[0] for words in verified(settings, log).differences}
    assert named == {"account", "card", "merchant", "device"}

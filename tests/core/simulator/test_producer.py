"""What reaches the log is what was generated: the contract's own judge finds every injected fault and no other."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraud_core.contracts import Contract, Contracts, Parsed, judge, load_contracts, parse_block, parse_json
from fraud_core.log import Entries, Log, open_log
from fraud_core.log.manifest import Manifest, id_hash_sum
from fraud_core.settings import PACKAGED_CONTRACTS, Settings
from fraud_core.simulator import History, World, WorldSpec
from fraud_core.simulator.faults import KINDS
from fraud_core.simulator.ground_truth import GroundTruth
from fraud_core.simulator.live import Live
from fraud_core.simulator.producer import Form, Producer
from fraud_core.simulator.rhythm import DAY_MS

SPEC = WorldSpec(seed=5, accounts=300, merchants=200, events_per_day=700)
NOW_MS = 1_790_000_000_000
"""A fixed moment: what happens live is drawn from its start, and one minute in fifty holds no campaign."""


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return load_contracts(PACKAGED_CONTRACTS)


def entries_of(log: Log, stream: str) -> list[Entries]:
    return [log.read(shard, 0, log.end(shard), 1_000_000) for shard in log.shards(stream)]


def readings(contract: Contract, entries: Entries) -> Iterator[tuple[list[bytes], Parsed, Any]]:
    """Blocks one by one, and all JSON entries between two blocks at once."""
    for kind, run in groupby(range(len(entries)), key=lambda row: entries.kinds[row]):
        rows = list(run)
        if kind == "json":
            payloads = [entries.payloads[row] for row in rows]
            yield payloads, parse_json(contract, payloads), entries.virtual_ms[rows]
            continue
        for row in rows:
            parsed = parse_block(contract, entries.payloads[row])
            yield [b""] * parsed.frame.height, parsed, parsed.virtual_ms


def produce(settings: Settings, form: Form, faults: float) -> tuple[Log, Producer, GroundTruth]:
    until_ms = int(time.time() * 1000)
    log = open_log(settings)
    producer, truth = Producer(log, form=form, block_events=500), GroundTruth()
    for chunk in History(World(SPEC), until_ms - 8 * DAY_MS, until_ms, faults).chunks():
        producer.send(chunk)
        truth.add(chunk)
    return log, producer, truth


@pytest.mark.parametrize(("form", "shards"), [("block", 1), ("json", 1), ("block", 3)])
def test_every_event_on_the_log_is_accounted_for(
    settings: Settings, contracts: Contracts, form: Form, shards: int
) -> None:
    settings = settings.model_copy(update={"shards": shards})
    log, producer, truth = produce(settings, form, 0.05)
    contract = contracts.transactions
    verdicts: Counter[str] = Counter()
    found_reasons: dict[str, tuple[str, ...]] = {}
    ids: list[str] = []
    for entries in entries_of(log, "transactions"):
        first_body: dict[str, str] = {}
        for payloads, parsed, known in readings(contract, entries):
            verdict = judge(contract, parsed.frame, known, parsed.found)
            for row, event in enumerate(parsed.frame.rows(named=True)):
                event_id = event["transaction_id"]
                ids += [event_id] if event_id is not None else []
                if row in verdict.reasons:
                    verdicts["violation"] += 1
                    found_reasons[hashlib.sha256(payloads[row]).hexdigest()] = verdict.reasons[row]
                elif event_id in first_body:
                    same = first_body[event_id] == str(event)
                    verdicts["duplicate" if same else "violation"] += 1
                else:
                    first_body[event_id] = str(event)
                    verdicts["valid"] += 1
    expected = truth.frame()
    faulty = expected.filter(pl.col("fault").is_not_null())
    assert verdicts["valid"] == producer.sent.transactions
    assert verdicts["duplicate"] == faulty.filter(pl.col("verdict") == "duplicate").height > 0
    assert verdicts["violation"] == faulty.filter(pl.col("verdict") == "violation").height > 0
    for digest, reason, fault in faulty.select("payload_sha256", "reason", "fault").iter_rows():
        if reason is not None and not reason.startswith("transaction_id.duplicate"):
            assert reason in found_reasons[digest], fault
    assert producer.manifest.streams["transactions"].events == sum(verdicts.values())
    assert producer.manifest.streams["transactions"].id_hash_sum == id_hash_sum(ids)
    log.close()


def test_labels_keep_the_labels_contract(settings: Settings, contracts: Contracts) -> None:
    log, producer, _ = produce(settings, "block", 0.0)
    rows = 0
    for entries in entries_of(log, "labels"):
        for payload in entries.payloads:
            parsed = parse_block(contracts.labels, payload)
            assert parsed.virtual_ms is not None
            assert judge(contracts.labels, parsed.frame, parsed.virtual_ms, parsed.found).counts == {}
            rows += parsed.frame.height
    assert rows == producer.sent.labels > 0
    log.close()


def test_no_event_is_known_after_it_was_appended(settings: Settings) -> None:
    log, _, _ = produce(settings, "block", 0.05)
    for entries in entries_of(log, "transactions"):
        assert (entries.virtual_ms <= entries.append_ms).all()
        assert (entries.virtual_ms >= 0).all()
    log.close()


def test_every_kind_of_fault_is_made() -> None:
    until_ms = NOW_MS
    chunks = History(World(SPEC), until_ms - 8 * DAY_MS, until_ms, 0.2).chunks()
    assert {fault.kind for chunk in chunks for fault in chunk.faults} == set(KINDS)


def test_live_events_go_on_with_the_same_world(settings: Settings, contracts: Contracts) -> None:
    log = open_log(settings)
    producer = Producer(log, form="json", virtual=False)
    now_ms = NOW_MS
    world = World(SPEC)
    live = Live(world, now_ms - 60_000, faults=0.02, label_delay_ms=5_000)
    past = next(History(world, now_ms - DAY_MS, now_ms).chunks()).transactions
    scenarios: set[str] = set()
    ids: list[str] = []
    accounts: set[str] = set()
    for step in range(60):
        chunk = live.step(now_ms - 60_000 + step * 1_000, now_ms - 60_000 + (step + 1) * 1_000, 60)
        producer.send(chunk)
        scenarios |= set(chunk.transactions["_scenario"].drop_nulls())
        ids += chunk.transactions["transaction_id"].to_list()
        accounts |= set(chunk.transactions["account_id"])
    assert len(ids) == len(set(ids))
    assert not set(ids) & set(past["transaction_id"])
    assert accounts & set(past["account_id"])
    assert abs(producer.sent.transactions - 3_600) < 200
    assert scenarios
    assert producer.sent.labels > 0
    payload = json.loads(entries_of(log, "transactions")[0].payloads[0])
    assert payload["event_ts"].endswith("Z")
    assert set(payload) == set(contracts.transactions.by_name)
    log.close()


def test_the_manifest_survives_the_disk(settings: Settings, tmp_path: Path) -> None:
    log, producer, _ = produce(settings, "block", 0.0)
    producer.manifest.save(tmp_path / "manifest.json")
    assert Manifest.load(tmp_path / "manifest.json") == producer.manifest
    log.close()


def test_a_moment_may_hold_fraud_alone() -> None:
    now_ms = NOW_MS
    live = Live(World(replace(SPEC, fraud_share=0.2)), now_ms)
    steps = (live.step(now_ms + step, now_ms + step + 1, 1).transactions for step in range(3_000))
    assert any(rows.height and rows["_scenario"].null_count() == 0 for rows in steps)

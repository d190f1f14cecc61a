"""Every event ends in exactly one place: the main tables, quarantine, or the count of duplicates."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import redis
from cryptography.fernet import Fernet

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import Lake, open_lake, read_transactions
from fraud_core.contracts import Contracts, parse_json
from fraud_core.errors import LakeError, LogUnavailable, LostRange, SettingsError
from fraud_core.log import Entry, Log, Manifest, block_entry, json_entry, open_log
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey
ON_EVERY_STORE = True
MANY_COMMITS = (
    "test_plans_of_any_size_give_the_same_rows",
    "test_a_fresh_run_per_plan_and_one_long_run_agree",
)
"""Too many for a store that is a test's, and about plans, not stores."""
MakeEvent = Callable[..., bytes]
DAY_MS = 86_400_000


def block(contracts: Contracts, payloads: list[bytes], virtual_ms: list[int] | None = None) -> Entry:
    frame = parse_json(contracts.transactions, payloads).frame
    if virtual_ms is not None:
        frame = frame.with_columns(pl.Series("_virtual_ms", virtual_ms, dtype=pl.Int64))
    return block_entry(frame)


def ids(lake: Lake, table: str = "transactions") -> list[str]:
    return lake.scan(table).sort("_offset", "_index").collect()["transaction_id"].to_list()


def test_each_kind_of_event_goes_where_it_belongs(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, contracts: Contracts
) -> None:
    spoilt = block(contracts, [event(6, amount=-1)])
    log.append(
        "transactions",
        [
            json_entry(event(1)),
            json_entry(b'{"transaction_id": "tx-'),
            block(contracts, [event(2), event(3), event(1), event(4, country="??")]),
            json_entry(event(2, amount=7)),
            json_entry(event(5)),
            spoilt,
            Entry("block", b"no arrow"),
        ],
    )
    totals = run_ingest(settings)
    assert (totals.events, totals.valid, totals.duplicates, totals.violations) == (10, 4, 1, 5)
    assert ids(lake) == [f"tx-{number:08d}" for number in (1, 2, 3, 5)]
    held = lake.scan("quarantine_transactions").sort("_offset", "_index").collect()
    assert held["kind"].to_list() == ["violation", "duplicate", *["violation"] * 4]
    assert held["reasons"].to_list() == [
        ["row.unparseable"],
        [],
        ["country.enum"],
        ["transaction_id.duplicate_other_body"],
        ["amount_minor.minimum", "amount_base_minor.minimum"],
        ["row.unparseable"],
    ]
    assert held["_index"].to_list() == [0, 2, 3, 0, 0, 0]
    payloads = held["payload"].to_list()
    assert payloads[0] == b'{"transaction_id": "tx-'
    assert payloads[1] is None
    assert json.loads(payloads[2])["country"] == "??"
    assert payloads[5] == b"no arrow"
    assert totals.reasons["row.unparseable"] == 2


def test_rows_carry_when_they_were_known_and_where_they_came_from(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, contracts: Contracts
) -> None:
    now = datetime.now(UTC)
    past = int((now - timedelta(days=40)).timestamp() * 1000)
    early = int((now + timedelta(days=1)).timestamp() * 1000)
    offsets = log.append(
        "transactions",
        [
            json_entry(event(1)),
            json_entry(event(2, event_ts="2026-01-01T00:00:00.000Z"), virtual_ms=past),
            json_entry(event(3), virtual_ms=early),
            block(contracts, [event(4), event(5)], [past + DAY_MS, early]),
        ],
    )
    run_ingest(settings)
    rows = lake.scan("transactions").sort("_offset", "_index").collect()
    assert rows["_offset"].to_list() == [offsets[0], offsets[1], offsets[3]]
    assert rows["_index"].to_list() == [0, 0, 0]
    known_ms = rows["known_at"].dt.epoch("ms").to_list()
    assert known_ms == [offsets[0] >> 20, past, past + DAY_MS]
    assert rows["event_date"].to_list() == rows["event_ts"].dt.date().to_list()
    assert rows["_seq_account"].to_list() == [None] * 3
    held = lake.scan("quarantine_transactions").sort("_offset").collect()
    assert held["reasons"].to_list() == [["row.virtual_time"]] * 2
    assert held["event_id"].to_list() == ["tx-00000003", "tx-00000005"]


def test_the_future_is_judged_by_the_virtual_time(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    then = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    log.append("transactions", [json_entry(event(1, event_ts="2026-01-02T00:00:00.000Z"), virtual_ms=then)])
    totals = run_ingest(settings)
    assert totals.reasons == {"event_ts.future": 1}


def test_replayed_plans_and_events_add_no_rows(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    entries = [json_entry(event(number)) for number in range(50)]
    log.append("transactions", entries)
    assert run_ingest(settings).valid == 50
    assert run_ingest(settings).commits == 0
    log.append("transactions", entries)
    assert run_ingest(settings).duplicates == 50
    assert len(ids(lake)) == 50
    assert lake.scan("quarantine_transactions").collect()["payload"].null_count() == 50


def test_plans_of_any_size_give_the_same_rows(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    log.append(
        "transactions", [json_entry(event(number % 60, amount=5 + number % 7)) for number in range(200)]
    )
    small = settings.model_copy(update={"plan_max_events": 7, "compact_every": 5})
    totals = run_ingest(small)
    assert totals.events == 200
    assert totals.commits >= 200 // 16
    assert totals.valid == 60 == len(ids(lake))
    assert verify(settings).ok


def test_the_window_reaches_only_so_far_back(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    near = settings.model_copy(update={"uniqueness_window": 3, "plan_max_events": 1})
    log.append("transactions", [json_entry(event(number)) for number in (1, 2, 3, 1, 4, 5, 1, 4)])
    totals = run_ingest(near)
    assert ids(lake) == [f"tx-{number:08d}" for number in (1, 2, 3, 4, 5, 1)]
    assert totals.duplicates == 2


@pytest.mark.parametrize("window", [2, 5, 1000])
def test_a_fresh_run_per_plan_and_one_long_run_agree(
    settings: Settings, window: int, event: MakeEvent
) -> None:
    generator = np.random.default_rng(window)
    numbers = generator.integers(0, 12, 60).tolist()
    payloads = [
        event(number, amount=int(amount))
        for number, amount in zip(numbers, generator.integers(1, 3, 60), strict=True)
    ]
    verdicts = []
    for drive in ("long", "fresh"):
        own = settings.model_copy(
            update={
                "home": settings.home / drive,
                "lake": f"{settings.lake}/{drive}" if settings.lake else "",
                "namespace": drive,
                "uniqueness_window": window,
                "plan_max_events": 4,
            }
        )
        own = Settings(**{**own.model_dump(), "_env_file": None})
        log = open_log(own)
        log.append("transactions", [json_entry(payload) for payload in payloads])
        log.close()
        if drive == "long":
            run_ingest(own, ["transactions"])
        else:
            while run_ingest(own, ["transactions"], plans_per_shard=1).commits:
                pass
        lake = open_lake(own)
        rows = lake.scan("ledger").sort("end").collect()
        held = lake.scan("quarantine_transactions").sort("_offset").collect()
        verdicts.append(
            (
                rows.select("valid", "duplicates", "violations").rows(),
                held.select("event_id", "kind", "reasons").rows(),
            )
        )
    assert verdicts[0] == verdicts[1]


def test_a_decision_becomes_a_row_of_two_tables(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, decision: MakeEvent, contracts: Contracts
) -> None:
    log.append("transactions", [json_entry(event(1)), json_entry(event(9))])
    log.append(
        "decisions",
        [
            json_entry(decision(1)),
            json_entry(decision(2)),
            json_entry(decision(2)),
            json_entry(decision(3, inner={"amount": -5})),
            json_entry(decision(4, inner={"transaction_id": "tx-00000099"})),
            json_entry(decision(5, seqs={"account": "x"})),
            json_entry(decision(6, score=1.5)),
        ],
    )
    totals = run_ingest(settings)
    assert (totals.valid, totals.duplicates, totals.violations) == (4, 1, 4)
    assert ids(lake, "decisions") == ["tx-00000001", "tx-00000002"]
    scored = lake.scan("transactions").filter(pl.col("_stream") == "decisions").sort("_offset").collect()
    assert scored["transaction_id"].to_list() == ["tx-00000001", "tx-00000002"]
    assert scored["_seq_account"].to_list() == [1, 2]
    assert scored["_epoch"].null_count() == 0
    held = lake.scan("quarantine_decisions").filter(pl.col("kind") == "violation").sort("_offset").collect()
    assert held["reasons"].to_list() == [
        ["event.amount_minor.minimum", "event.amount_base_minor.minimum"],
        ["event.other_id"],
        ["seqs.whole_numbers"],
        ["score.maximum"],
    ]
    once = read_transactions(lake, contracts.transactions).sort("transaction_id").collect()
    assert once.select("transaction_id", "_stream").rows() == [
        ("tx-00000001", "decisions"),
        ("tx-00000002", "decisions"),
        ("tx-00000009", "transactions"),
    ]
    assert verify(settings).ok


def test_a_label_may_be_corrected_but_not_repeated(
    settings: Settings, log: Log, lake: Lake, contracts: Contracts
) -> None:
    example = contracts.labels.example()
    first = json.dumps(example).encode()
    later = json.dumps({**example, "is_fraud": False, "reported_at": "2026-09-09T08:00:00.000Z"}).encode()
    log.append("labels", [json_entry(first), json_entry(later), json_entry(first)])
    totals = run_ingest(settings)
    assert (totals.valid, totals.duplicates) == (2, 1)
    assert lake.scan("labels").sort("_offset").collect()["is_fraud"].to_list() == [True, False]


def test_several_shards_keep_their_own_offsets_and_windows(settings: Settings, event: MakeEvent) -> None:
    sharded = settings.model_copy(update={"shards": 3})
    log = open_log(sharded)
    log.append(
        "transactions",
        [json_entry(event(number % 40)) for number in range(80)],
        [str(n % 40) for n in range(80)],
    )
    log.close()
    totals = run_ingest(sharded)
    assert (totals.valid, totals.duplicates) == (40, 40)
    assert open_lake(sharded).scan("ledger").collect()["shard"].n_unique() == 3
    assert verify(sharded).ok


def test_a_wiped_log_goes_on_in_a_new_life_and_still_knows_its_events(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, valkey_url: str
) -> None:
    log.append("transactions", [json_entry(event(number)) for number in range(5)])
    run_ingest(settings)
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    again = open_log(settings)
    again.append("transactions", [json_entry(event(number)) for number in range(3, 8)])
    again.close()
    totals = run_ingest(settings)
    assert (totals.valid, totals.duplicates) == (3, 2)
    assert verify(settings).ok


def test_two_lives_of_a_log_may_use_the_same_offsets(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, valkey_url: str
) -> None:
    now_ms = int(time.time() * 1000)

    def die(step: str) -> None:
        if step == "after_quarantine_commit":
            raise KeyboardInterrupt

    with redis.Redis.from_url(valkey_url) as client:
        for life in (range(5), range(4, 9)):
            client.flushall()
            log.shards("transactions")
            for place, number in enumerate(life):
                payload = event(number, amount=-1 if place == 3 else 100)
                client.xadd("spearhead:log:{transactions.0}", {"j1": payload}, id=f"{now_ms}-{place}")
            with pytest.raises(KeyboardInterrupt):
                run_ingest(settings, ["transactions"], failpoint=die)
            run_ingest(settings, ["transactions"])
    assert sorted(ids(lake)) == [f"tx-{number:08d}" for number in (0, 1, 2, 4, 5, 6, 8)]
    rows = lake.scan("transactions").select("_incarnation", "_offset").collect()
    assert rows["_incarnation"].n_unique() == 2
    assert rows["_offset"].n_unique() < rows.height
    proof = verify(settings)
    assert (proof.ok, proof.valid, proof.duplicates, proof.quarantined) == (True, 7, 1, 2)


def test_quarantined_bytes_are_sealed_when_a_key_is_set(settings: Settings, log: Log, lake: Lake) -> None:
    key = Fernet.generate_key().decode()
    sealed = Settings(**{**settings.model_dump(), "quarantine_key": key, "_env_file": None})
    log.append("transactions", [json_entry(b"4242424242424242")])
    run_ingest(sealed)
    payload = lake.scan("quarantine_transactions").collect()["payload"][0]
    assert b"4242" not in payload
    assert Seal.of(sealed).open(payload) == b"4242424242424242"
    with pytest.raises(LakeError, match="SPEARHEAD_QUARANTINE_KEY"):
        Seal.of(settings).open(payload)
    with pytest.raises(SettingsError, match="Fernet"):
        Seal("short")


def test_entries_are_trimmed_behind_the_ledger_and_the_last_one_stays(
    settings: Settings, log: Log, event: MakeEvent
) -> None:
    offsets = log.append("transactions", [json_entry(event(number)) for number in range(10)])
    (shard,) = log.shards("transactions")
    log.advance_reader(shard, "stream_scorer", offsets[4])
    run_ingest(settings)
    assert log.oldest(shard) == offsets[4]
    log.advance_reader(shard, "stream_scorer", offsets[9])
    log.append("transactions", [json_entry(event(11))])
    run_ingest(settings)
    assert log.depth(shard) == 2
    assert log.readers(shard)["ingest"] == log.end(shard)


def test_entries_removed_unread_stop_the_run_with_the_range(
    settings: Settings, log: Log, event: MakeEvent
) -> None:
    (shard,) = log.shards("transactions")
    log.append("transactions", [json_entry(event(1))])
    run_ingest(settings)
    log.append("transactions", [json_entry(event(number)) for number in range(2, 8)])
    log.forget_reader(shard, "ingest")
    log.trim(shard, log.end(shard))
    with pytest.raises(LostRange, match="transactions/0"):
        run_ingest(settings)
    proof = verify(settings)
    assert not proof.ok
    assert proof.lost


def test_a_run_for_some_time_takes_what_comes_meanwhile(
    settings: Settings, log: Log, event: MakeEvent
) -> None:
    quick = settings.model_copy(update={"commit_interval_s": 0.05})
    log.append("transactions", [json_entry(event(1))])
    seen = []

    def on_commit(commit: object) -> None:
        seen.append(commit)
        if len(seen) == 1:
            log.append("transactions", [json_entry(event(2))])

    totals = run_ingest(
        quick, ["transactions"], until=timedelta(seconds=60), on_commit=on_commit, stop=lambda: len(seen) == 2
    )
    assert totals.valid == 2


def test_a_log_that_is_away_is_named(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    away = Settings(**{**away.model_dump(), "_env_file": None})
    with pytest.raises(LogUnavailable, match="SPEARHEAD_REDIS_URL"):
        run_ingest(away)


def test_the_producers_manifest_is_the_independent_witness(
    settings: Settings, log: Log, event: MakeEvent, tmp_path: Path
) -> None:
    manifest = Manifest()
    payloads = [event(1), event(2), event(1), event(3, amount=-1)]
    log.append("transactions", [json_entry(payload) for payload in [*payloads, b"{"]])
    manifest.add(
        "transactions", [json.loads(payload)["transaction_id"] for payload in payloads], unreadable=1
    )
    path = tmp_path / "manifest.json"
    manifest.save(path)
    run_ingest(settings, plans_per_shard=0)
    before = verify(settings, path)
    assert before.pending == 5
    assert before.ok
    run_ingest(settings)
    proof = verify(settings, path)
    assert proof.ok, proof.problems
    assert (proof.events, proof.valid, proof.duplicates, proof.quarantined) == (5, 2, 1, 2)
    manifest.add("transactions", ["tx-never-came"])
    manifest.save(path)
    missing = verify(settings, path)
    assert missing.lost == 1
    assert not missing.ok

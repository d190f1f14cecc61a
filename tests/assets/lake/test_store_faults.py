"""Ingestion into an object store that errs, is silent, or does what it was asked and cannot say so.

The faults are a proxy's before a real S3 server (faulty_store.py), for no real store can be made to show them.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import compact, open_lake
from fraud_core.contracts import load_contracts
from fraud_core.errors import LakeError, UnsafeStore
from fraud_core.log import json_entry, open_log
from fraud_core.settings import PACKAGED_CONTRACTS, Settings
from tests.assets.lake.faulty_store import FaultyStore, faulty_store
from tests.assets.lake.object_store import in_store

pytestmark = [pytest.mark.s3, pytest.mark.valkey]
TABLES = ("quarantine_transactions", "transactions", "ledger")
ALWAYS = 1_000_000
HASTY_S = 3.0
"""What a run waits for the store where the store does not answer; elsewhere as long as usual, whatever a busy machine takes."""


@pytest.fixture(scope="module")
def faulty(object_store: str) -> Iterator[FaultyStore]:
    with faulty_store(object_store) as store:
        yield store


@pytest.fixture
def settings(faulty: FaultyStore, tmp_path: Path, valkey_url: str) -> Iterator[Settings]:
    """A lake of its own in the store behind the proxy, with its tables, and eight events on the log."""
    own = in_store(faulty.endpoint, tmp_path, redis_url=valkey_url, plan_max_events=3)
    run_ingest(own, ["transactions"])
    example = load_contracts(PACKAGED_CONTRACTS).transactions.example()
    payloads = [
        json.dumps({**example, "transaction_id": f"tx-{number:08d}"}).encode()
        for number in (1, 2, 3, 4, 5, 2)
    ]
    log = open_log(own)
    log.append("transactions", [json_entry(payload) for payload in [*payloads, b"{", b"}"]])
    log.close()
    yield own
    faulty.strike()


def ingested_once(settings: Settings) -> bool:
    proof = verify(settings)
    assert proof.ok, proof.problems
    return (proof.valid, proof.duplicates, proof.quarantined, proof.pending) == (5, 1, 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["500", "503", "reset"])
def test_passing_errors_of_the_store_are_lived_through(
    settings: Settings, faulty: FaultyStore, what: str
) -> None:
    faulty.strike((what, "PUT", "_delta_log", 5), (what, "PUT", "parquet", 3), (what, "GET", "", 5))
    run_ingest(settings, ["transactions"])
    assert faulty.struck == [5, 3, 5]
    assert ingested_once(settings)


def test_commits_whose_answers_were_lost_are_not_made_twice(settings: Settings, faulty: FaultyStore) -> None:
    faulty.strike(*[("lost", "PUT", f"/{table}/_delta_log", 1) for table in TABLES])
    totals = run_ingest(settings, ["transactions"])
    assert faulty.struck == [1, 1, 1]
    assert (
        totals.refused == 3
    )  # by what the run itself had written: the store's second answer is "it is there already"
    assert ingested_once(settings)


@pytest.mark.slow
def test_a_compaction_whose_answer_was_lost_doubles_no_row(settings: Settings, faulty: FaultyStore) -> None:
    run_ingest(settings, ["transactions"])
    faulty.strike(("lost", "PUT", "/transactions/_delta_log", 2))
    compact(open_lake(settings), "transactions")
    assert faulty.struck == [2]
    assert ingested_once(settings)


@pytest.mark.slow
def test_a_store_that_is_silent_ends_the_run_and_the_next_one_goes_on(
    settings: Settings, faulty: FaultyStore
) -> None:
    for table in TABLES:
        faulty.strike(("hang", "PUT", f"/{table}/_delta_log", 1))
        with pytest.raises(LakeError, match="store answers"):
            run_ingest(settings.changed(s3_timeout_s=HASTY_S), ["transactions"])
        assert faulty.struck == [1]
    run_ingest(settings, ["transactions"])
    assert ingested_once(settings)


@pytest.mark.slow
def test_a_store_that_is_down_is_named_and_nothing_is_lost(settings: Settings, faulty: FaultyStore) -> None:
    faulty.strike(("503", "PUT", "/ledger/_delta_log", ALWAYS))
    with pytest.raises(LakeError, match=r"503(.|\n)*What was committed before is intact"):
        run_ingest(settings.changed(s3_timeout_s=HASTY_S), ["transactions"])
    assert verify(settings).ok
    faulty.strike()
    run_ingest(settings, ["transactions"])
    assert ingested_once(settings)


def test_a_store_that_drops_the_condition_on_the_way_is_refused(
    settings: Settings, faulty: FaultyStore
) -> None:
    faulty.strike(("strip", "PUT", "", ALWAYS))
    with pytest.raises(UnsafeStore, match="If-None-Match"):
        run_ingest(settings, ["transactions"])
    faulty.strike()
    assert verify(settings).pending == 8

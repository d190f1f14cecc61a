"""The lake in an object store: ingested exactly once there too, and a store that ignores conditions is refused."""

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import open_lake
from fraud_assets.lake.files import prune_log, remove_table, table_names
from fraud_assets.lake.upkeep import keep_up
from fraud_assets.quarantine import Mapping, Selection, StateCounts, replay, state_counts
from fraud_assets.quarantine.mapping import Step
from fraud_core.contracts import load_contracts
from fraud_core.errors import LakeError, UnsafeStore
from fraud_core.free_ports import free_ports
from fraud_core.log import json_entry, open_log
from fraud_core.settings import PACKAGED_CONTRACTS, load_settings
from tests.assets.lake.object_store import in_store

pytestmark = pytest.mark.s3


class Careless(BaseHTTPRequestHandler):
    """An S3 that accepts every put, whatever its conditions."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.valkey
def test_a_lake_in_an_object_store_is_ingested_exactly_once(
    object_store: str, tmp_path: Path, valkey_url: str
) -> None:
    settings = in_store(object_store, tmp_path, redis_url=valkey_url)
    example = load_contracts(PACKAGED_CONTRACTS).transactions.example()
    log = open_log(settings)
    payloads = [
        json.dumps({**example, "transaction_id": f"tx-{number:08d}"}).encode() for number in (1, 2, 3, 2)
    ]
    log.append("transactions", [json_entry(payload) for payload in [*payloads, b"{"]])
    log.close()
    run_ingest(settings, ["transactions"], plans_per_shard=1)
    proof = verify(settings)
    assert proof.ok, proof.problems
    assert (proof.valid, proof.duplicates, proof.quarantined) == (3, 1, 1)
    assert run_ingest(settings, ["transactions"]).commits == 0


@pytest.mark.valkey
def test_a_refused_event_of_a_lake_in_an_object_store_comes_back_once(
    object_store: str, tmp_path: Path, valkey_url: str
) -> None:
    settings = in_store(object_store, tmp_path, redis_url=valkey_url).changed(lake="s3://lake/refused")
    example = load_contracts(PACKAGED_CONTRACTS).transactions.example()
    log = open_log(settings)
    log.append("transactions", [json_entry(json.dumps({**example, "country": "UK"}).encode())])
    log.close()
    run_ingest(settings, ["transactions"])
    lake, repair = open_lake(settings), Mapping((Step("replace", "country", "GB", "UK"),))
    for _ in range(2):
        replay(settings, lake, Selection(("transactions",)), "ann", mapping=repair)
    run_ingest(settings, ["transactions"])
    assert state_counts(lake, "transactions") == StateCounts(replayed=1)
    proof = verify(settings)
    assert (proof.ok, proof.valid, proof.quarantined, proof.replayed) == (True, 1, 1, 1), proof.problems


def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(UnsafeStore, match="If-None-Match"):
            open_lake(in_store(f"http://127.0.0.1:{server.server_port}", tmp_path))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_store_that_does_not_answer_is_named(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with pytest.raises(LakeError, match="SPEARHEAD_S3_ENDPOINT"):
        open_lake(in_store(f"http://127.0.0.1:{port}", tmp_path))


def test_another_kind_of_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="s3://"):
        open_lake(load_settings(_env_file=None, home=tmp_path, lake="gs://bucket"))


def test_tables_in_an_object_store_are_kept_up(object_store: str, tmp_path: Path) -> None:
    lake = open_lake(in_store(object_store, tmp_path))
    lake.create("kept/up", {"a": pl.Int64()})
    for number in range(6):
        row = pl.DataFrame({"a": [number]})
        lake.append(lake.table("kept/up"), row, {"s": number + 1})
    assert "kept/up" in table_names(lake)
    done = keep_up(lake, "kept/up", vacuum_after_h=24)
    assert (done.before.files, done.after.files, done.after.rows) == (6, 1, 6)
    assert prune_log(lake, "kept/up", keep=0, grace=timedelta(0)) > 5
    assert lake.committed(lake.table("kept/up"), "s") == 6
    assert sorted(lake.scan("kept/up").collect()["a"]) == list(range(6))
    assert remove_table(lake, "kept/up") > 0
    assert "kept/up" not in table_names(lake)

"""The main job on the whole platform: from a log with known faults to scored payments, with an ingest run killed on the way.

Every event is reconciled one by one against what the simulator says is true of it. The steps are one story, in order.
"""

import hashlib
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import psutil
import pytest

from fraud_assets.lake import read_transactions
from fraud_assets.orchestration.run_statuses import UNFINISHED
from fraud_core.contracts import load_contracts
from fraud_core.log import Shard, open_log
from fraud_core.platform.demo.payments import live_payments
from fraud_core.platform.process import marked
from fraud_core.simulator import History, World, WorldSpec
from fraud_core.simulator.rhythm import DAY_MS
from fraud_core.simulator.spans import parse_instant_ms
from tests.platform.running import RunningPlatform, wait_until

pytestmark = [pytest.mark.platform, pytest.mark.valkey, pytest.mark.early, pytest.mark.timeout(600)]

DAYS, FAULTS, FRAUD = 40, 0.02, 0.02
ACCOUNTS, MERCHANTS = 1_500, 300
RHYTHM = WorldSpec().events_per_day / WorldSpec().accounts
WORLD = WorldSpec(accounts=ACCOUNTS, merchants=MERCHANTS, events_per_day=RHYTHM * ACCOUNTS, fraud_share=FRAUD)
UNTIL = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
WORLD_OPTIONS = ("--accounts", str(ACCOUNTS), "--merchants", str(MERCHANTS), "--fraud", str(FRAUD))
ANSWER_FIELDS = {
    "transaction_id", "score", "decision", "reasons", "model_version", "route", "backend", "fallback_reason",
    "degraded", "logged", "trace_id", "latency_ms",
}  # fmt: skip
SCORED = 40


def produce(platform: RunningPlatform, part: str) -> tuple[str, ...]:
    """Options of a producer that writes down what it sent and what is true of it."""
    manifest, truth = platform.home / f"{part}.json", platform.home / f"{part}.parquet"
    return ("produce", *WORLD_OPTIONS, "--faults", str(FAULTS), "--manifest", str(manifest), "--ground-truth", str(truth))  # fmt: skip


def proved(platform: RunningPlatform) -> dict[str, Any]:
    """Counts, once the proof over all manifests holds and nothing is pending."""
    manifests = [str(path) for path in sorted(platform.home.glob("*.json")) if path.name != "platform.json"]
    options = [word for path in manifests for word in ("--manifest", path)]
    found: dict[str, Any] = {}

    def holds() -> bool:
        nonlocal found
        found = platform.json("verify", *options, codes=(0, 1))
        return bool(found) and found["ok"] and not found["pending"]

    wait_until("the proof that everything is ingested", holds, 180, found=lambda: found)
    assert (found["lost"], found["duplicated"], found["problems"]) == (0, 0, [])
    return found


def faults_sent(platform: RunningPlatform, *parts: str) -> pl.DataFrame:
    truth = pl.concat([pl.read_parquet(platform.home / f"{part}.parquet") for part in parts])
    return truth.filter(pl.col("fault").is_not_null())


def check_quarantine(platform: RunningPlatform, *parts: str) -> None:
    """Each fault stands in quarantine as what it is, as often as it was sent; and nothing else does."""
    sent = faults_sent(platform, *parts)
    kept = platform.lake.scan("quarantine_transactions").filter(pl.col("_stream") == "transactions").collect()

    repeated = sent.filter(pl.col("verdict") == "duplicate")["transaction_id"]
    recorded = kept.filter(pl.col("kind") == "duplicate")
    assert sorted(recorded["event_id"]) == sorted(repeated)

    wrong = sent.filter(pl.col("verdict") == "violation")
    violating = kept.filter(pl.col("kind") == "violation").with_columns(
        pl.col("payload").bin.encode("hex").alias("bytes")
    )
    found = (
        violating.with_columns(sha=_sha256(violating["payload"]))
        .group_by("sha")
        .agg(pl.len().alias("times"), pl.col("reasons").first())
    )
    expected = wrong.group_by(pl.col("payload_sha256").alias("sha")).agg(
        pl.len().alias("times"), pl.col("reason").first(), pl.col("fault").first()
    )
    both = expected.join(found, on="sha", how="full", coalesce=True, suffix="_found")
    odd = both.filter(
        (pl.col("times") != pl.col("times_found")).fill_null(True)
        | ~pl.col("reasons").list.contains(pl.col("reason")).fill_null(False)
    )
    assert odd.is_empty(), odd.head().to_dicts()


def _sha256(payloads: pl.Series) -> pl.Series:
    return pl.Series([hashlib.sha256(payload).hexdigest() for payload in payloads])


def admitted(platform: RunningPlatform) -> pl.Series:
    """Ids of the rows that came over the stream `transactions`."""
    rows = platform.lake.scan("transactions").filter(pl.col("_stream") == "transactions")
    return rows.select("transaction_id").collect().to_series()


def transactions_shard(platform: RunningPlatform) -> Shard:
    log = open_log(platform.settings)
    try:
        [shard] = log.shards("transactions")
    finally:
        log.close()
    return shard


def test_up_starts_every_service(platform: RunningPlatform) -> None:
    status = platform.json("status")
    assert {service["name"]: service["state"] for service in status["services"]} == dict.fromkeys(
        (
            "valkey",
            "dagster-code",
            "dagster-webserver",
            "dagster-daemon",
            "reports",
            "exporter",
            "triton",
            "serving",
            "scorer",
        ),
        "ready",
    )
    assert platform.dagster.reachable()
    assert platform.http("/livez")[0] == 200
    assert platform.http("/readyz")[0] == 503


def test_a_history_with_faults_is_ingested_by_the_sensors_run(platform: RunningPlatform) -> None:
    past = ("--history", f"{DAYS}d", "--until", UNTIL.isoformat())
    sent = platform.json(*produce(platform, "history"), *past)
    assert sent["faults"] > 300
    counts = proved(platform)
    assert counts["valid"] == sent["transactions"] + sent["labels"]
    assert counts["quarantined"] + counts["duplicates"] == sent["faults"]
    [run] = platform.runs("ingest_job")
    assert run["status"] == "STARTED"


def test_every_event_of_the_history_stands_where_it_belongs(platform: RunningPlatform) -> None:
    until_ms = parse_instant_ms(UNTIL.isoformat())
    history = History(World(WORLD), until_ms - DAYS * DAY_MS, until_ms, FAULTS)
    good = [number for chunk in history.chunks() for number in chunk.transactions["transaction_id"]]
    assert sorted(admitted(platform)) == sorted(good)
    check_quarantine(platform, "history")


def test_a_killed_ingest_run_is_followed_by_one_that_finishes_its_plan(platform: RunningPlatform) -> None:
    app_id = transactions_shard(platform).app_id
    [first] = platform.runs("ingest_job")
    worker = platform.worker(first["runId"])
    assert worker is not None
    with platform.background(*produce(platform, "live"), "--rate", "150") as producer:
        with platform.suspended("dagster-daemon"):  # which would start the next run meanwhile
            kill_between_commits(platform, worker, app_id)
            # One by hand finishes the dead one's plan and dies at that point of its own.
            platform.spearhead("ingest", "transactions", codes=(-9,), failpoint="after_quarantine_commit")
        wait_until(
            "another run", lambda: _second(platform, first["runId"]) is not None, 180,
            found=lambda: platform.runs("ingest_job"),
        )  # fmt: skip
        producer.send_signal(signal.SIGINT)
        _, errors = producer.communicate(timeout=120)
        assert producer.returncode == 0, errors
    second = _second(platform, first["runId"])
    assert second is not None
    proved(platform)
    statuses = {run["runId"]: run["status"] for run in platform.runs("ingest_job")}
    assert statuses[first["runId"]] == "FAILURE"
    assert statuses[second] == "STARTED"
    assert any("finishing what an interrupted run had begun" in line for line in platform.messages(second))


def _second(platform: RunningPlatform, first: str) -> str | None:
    newest = platform.runs("ingest_job")[0]
    return newest["runId"] if newest["runId"] != first and newest["status"] == "STARTED" else None


def kill_between_commits(platform: RunningPlatform, worker: psutil.Process, app_id: str) -> None:
    """Stop the process, look, and kill it where the quarantine of a plan is committed and its main table is not."""
    lake = platform.lake
    deadline = time.monotonic() + 60
    while True:
        worker.suspend()
        while worker.status() != psutil.STATUS_STOPPED:
            pass
        judged = lake.committed(lake.table("quarantine_transactions"), app_id)
        if judged > lake.committed(lake.table("transactions"), app_id):
            worker.kill()
            return
        worker.resume()
        assert time.monotonic() < deadline, "no plan was caught between its commits"
        time.sleep(0.005)


def test_every_event_stands_where_it_belongs_after_the_kills(platform: RunningPlatform) -> None:
    check_quarantine(platform, "history", "live")
    ids = admitted(platform)
    assert ids.n_unique() == len(ids)
    contract = load_contracts(platform.settings.contracts).transactions
    seen = read_transactions(platform.lake, contract).select("transaction_id").collect().to_series()
    assert sorted(seen) == sorted(ids)


def test_one_run_of_the_graph_releases_a_model(platform: RunningPlatform) -> None:
    days = (
        "--from",
        (UNTIL - timedelta(days=DAYS)).date().isoformat(),
        "--to",
        datetime.now(UTC).date().isoformat(),
    )
    platform.spearhead("materialize", "history_release", *days)
    [bundle] = platform.json("release", "list")["bundles"]
    approval = ("--approver", "test", "--reason", "the first model")
    platform.spearhead("release", "bootstrap", bundle["version"], *approval)


def test_the_service_is_ready_once_the_state_is_rebuilt(platform: RunningPlatform) -> None:
    built = platform.json("state", "rebuild")
    assert built["events"] > 0
    wait_until(
        "/readyz", lambda: platform.http("/readyz")[0] == 200, 180, found=lambda: platform.http("/readyz")
    )
    wait_until(
        "the champion in Triton",
        lambda: platform.http("/v1/model")[1]["triton_problem"] is None,
        180,
        found=lambda: platform.http("/v1/model"),
    )


def test_payments_are_scored_over_http(platform: RunningPlatform) -> None:
    [bundle] = platform.json("release", "list")["bundles"]
    for payment in live_payments(WORLD, SCORED):
        status, answer = platform.http("/v1/score", payment)
        assert status == 200, answer
        assert set(answer) == ANSWER_FIELDS
        assert answer["transaction_id"] == payment["transaction_id"]
        assert answer["model_version"] == bundle["version"]
        assert (answer["route"], answer["backend"]) == ("champion", "triton")
        assert (answer["fallback_reason"], answer["degraded"], answer["logged"]) == (None, False, True)
        assert 0 <= answer["score"] <= 1
        assert answer["decision"] in {"approve", "review", "decline"}
        assert all(reason["code"] and reason["text"] for reason in answer["reasons"])


def test_live_events_are_scored_from_the_stream_and_decided_in_the_lake(platform: RunningPlatform) -> None:
    sent = platform.json(*produce(platform, "later"), "--rate", "60", "--for", "4s")

    def decided() -> int:
        found: int = platform.lake.scan("decisions").select(pl.len()).collect().item()
        return found

    everything = SCORED + sent["transactions"]
    wait_until(f"{everything} decisions", lambda: decided() >= everything, 180, found=decided)
    counts = proved(platform)
    assert counts["lost"] == counts["duplicated"] == 0
    check_quarantine(platform, "history", "live", "later")
    ids = platform.lake.scan("decisions").select("transaction_id").collect().to_series()
    assert ids.n_unique() == len(ids)


def test_served_vectors_equal_the_recomputed_ones(platform: RunningPlatform) -> None:
    today = datetime.now(UTC).date()
    days = ("--from", (today - timedelta(days=1)).isoformat(), "--to", today.isoformat())
    platform.spearhead("materialize", "feature_refresh", *days)
    numbers = platform.materialized("feature_parity")
    assert numbers["mismatches"] == 0
    assert numbers["compared"] >= SCORED + 200
    assert numbers["compared"] == numbers["decisions"]


def test_a_backfill_can_be_repeated(platform: RunningPlatform) -> None:
    last = UNTIL.date() - timedelta(days=3)
    days = ("--from", (last - timedelta(days=2)).isoformat(), "--to", last.isoformat())

    def rows() -> pl.DataFrame:
        return platform.lake.scan("features").sort("transaction_id").collect()

    before = rows()
    done = platform.spearhead("backfill", "features", *days)
    assert "backfill " in done.stderr
    assert rows().equals(before)
    platform.spearhead("backfill", "features", *days, "--in-process")
    assert rows().equals(before)


def test_down_leaves_no_process_and_no_run_as_a_failure(platform: RunningPlatform) -> None:
    token = platform.state.token
    assert marked(token)
    with dg.DagsterInstance.from_config(str(platform.home / "dagster")) as instance:
        young = platform.dagster.launch_job("label_push")

        def status() -> str:
            return instance.get_run_by_id(young).status.value  # type: ignore[union-attr]  # the run exists

        wait_until("the launch", lambda: status() != "QUEUED", 180, poll_s=0.02, found=status)
        under_way = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))}
        assert young in under_way
        platform.spearhead("down")
        ended = {run_id: instance.get_run_by_id(run_id).status.value for run_id in under_way}  # type: ignore[union-attr]  # the run exists
    assert set(ended.values()) <= {"SUCCESS", "CANCELED", "QUEUED"}, ended
    assert marked(token) == []
    assert platform.json("status", codes=(1,))["running"] is False

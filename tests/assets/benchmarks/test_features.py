"""The features benchmark measures what it says: small runs, every key, no difference between the two executions."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraud_assets.benchmarks.apart import apart
from fraud_assets.benchmarks.cli import app
from fraud_assets.benchmarks.offline import offline, write_payments
from fraud_assets.benchmarks.payments import as_events, payments
from fraud_core.contracts import load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS

KEYS = {
    "rows", "features", "cpu_s", "rows_per_s", "peak_rss_mib", "polars_rolling_cpu_s", "duckdb_cpu_s", "mismatches",
    "transactions_per_redis_core_s", "ping_saturated_us", "online", "memory_mib", "streamed", "larger",
}  # fmt: skip


def test_the_payments_of_the_benchmark_keep_the_contract() -> None:
    contract = load_contracts(PACKAGED_CONTRACTS).transactions
    frame = payments(contract, 500, 40, 20)
    for event in as_events(contract, frame):
        values, problems = contract.event_check.read(event)
        assert not problems, (event, problems)
        assert values
    assert frame["event_ts"].is_sorted()


@pytest.mark.slow
def test_four_times_the_payments_take_no_more_memory_where_they_are_streamed(tmp_path: Path) -> None:
    """64 MiB are allowed; held at once, the second run would take some 270 MiB more than the first."""
    peaks = []
    for rows in (100_000, 400_000):
        file = tmp_path / f"{rows}.parquet"
        apart(write_payments, file, rows, accounts=rows // 100, merchants=rows // 500, seed=7)
        used = apart(offline, file, 64 << 20)
        assert used["streamed"]
        peaks.append(used["peak_rss_mib"])
    assert peaks[1] - peaks[0] < 140, peaks


def test_payments_that_do_not_fit_are_streamed_by_the_benchmark_too(tmp_path: Path) -> None:
    file = tmp_path / "payments.parquet"
    write_payments(file, 3_000, accounts=100, merchants=20, seed=7)
    assert [offline(file, memory)["streamed"] for memory in (1 << 30, 1 << 20)] == [0, 1]


@pytest.mark.slow
@pytest.mark.valkey
def test_a_short_run_prints_every_figure() -> None:
    small = [
        "--rows",
        "20000",
        "--accounts",
        "500",
        "--merchants",
        "100",
        "--at",
        "10",
        "--calls",
        "100",
        "--times",
        "2",
    ]
    done = CliRunner().invoke(app, ["features", *small, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found) >= KEYS
    assert found["mismatches"] == 0
    assert found["larger"]["rows"] == 40_000
    assert found["larger"]["cpu_per_payment_ratio"] > 0
    assert set(found["online"][0]) >= {
        "events_per_entity",
        "server_us",
        "server_saturated_us",
        "client_p50_us",
        "client_p99_us",
    }
    assert min(found["cpu_s"], found["polars_rolling_cpu_s"], found["duckdb_cpu_s"]) > 0

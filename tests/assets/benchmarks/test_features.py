"""The features benchmark measures what it says: small runs, every key, no difference between the two executions."""

import json

import pytest
from typer.testing import CliRunner

from fraud_assets.benchmarks.cli import app
from fraud_assets.benchmarks.payments import as_events, payments
from fraud_core.contracts import load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS

KEYS = {
    "rows", "features", "cpu_s", "rows_per_s", "peak_rss_mib", "polars_rolling_cpu_s", "duckdb_cpu_s", "mismatches",
    "transactions_per_redis_core_s", "online",
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
@pytest.mark.valkey
def test_a_short_run_prints_every_figure() -> None:
    small = ["--rows", "20000", "--accounts", "500", "--merchants", "100", "--at", "10", "--calls", "100"]
    done = CliRunner().invoke(app, ["features", *small, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found) >= KEYS
    assert found["mismatches"] == 0
    assert set(found["online"][0]) >= {"events_per_entity", "server_us", "client_p50_us", "client_p99_us"}
    assert min(found["cpu_s"], found["polars_rolling_cpu_s"], found["duckdb_cpu_s"]) > 0

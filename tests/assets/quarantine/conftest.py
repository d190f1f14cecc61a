"""A quarantine with events to work on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.quarantine import Mapping, load_mapping
from fraud_assets.quarantine.cli import app
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.log import Log, json_entry
from fraud_core.settings import PACKAGED_CONTRACTS, Settings

MakeEvent = Callable[..., bytes]
Refuse = Callable[..., list[str]]
Command = Callable[..., Result]
Steps = Callable[[str], Mapping]


@pytest.fixture(scope="session")
def contracts() -> Contracts:
    return load_contracts(PACKAGED_CONTRACTS)


@pytest.fixture
def event(contracts: Contracts) -> MakeEvent:
    """Makes the bytes of a transaction: event(number, field=value, …)."""
    example = contracts.transactions.example()

    def make(number: int, **fields: Any) -> bytes:
        amounts = {"amount_minor": 100 + number, "amount_base_minor": 100 + number}
        return json.dumps({**example, "transaction_id": f"tx-{number:08d}", **amounts, **fields}).encode()

    return make


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(settings)


@pytest.fixture
def refuse(settings: Settings, log: Log, lake: Lake) -> Refuse:
    """Bring payloads into quarantine by ingesting them; their ids, in order."""

    def bring(
        payloads: list[bytes], virtual_ms: int | None = None, stream: str = "transactions"
    ) -> list[str]:
        log.append(stream, [json_entry(payload, virtual_ms) for payload in payloads])
        totals = run_ingest(settings, [stream])
        assert totals.violations == len(payloads), totals
        return ids(lake, stream)[-len(payloads) :]

    return bring


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """command("list", …): `spearhead quarantine` in these settings, in this process."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(each) for each in arguments])

    return run


@pytest.fixture
def steps(tmp_path: Path, contracts: Contracts) -> Steps:
    """Reads a mapping for transactions from its text."""

    def read(text: str) -> Mapping:
        path = tmp_path / "repair.yaml"
        path.write_text(text)
        return load_mapping(path, contracts.transactions)

    return read


def ids(lake: Lake, stream: str = "transactions") -> list[str]:
    """Ids of everything in a stream's quarantine, in the order of the log."""
    rows = lake.scan(f"quarantine_{stream}").sort("_offset", "_index").collect()
    parts = ["_stream", "_incarnation", "_shard", "_offset", "_index"]
    return ["/".join(map(str, row)) for row in rows.select(parts).iter_rows()]


def admitted(lake: Lake) -> pl.DataFrame:
    """The table of transactions, in the order of the log."""
    return lake.scan("transactions").sort("_offset", "_index").collect()

"""A contract that changes beside a lake in use: what follows by itself flows, what breaks is refused before it is written."""

import json
import re
from base64 import b64decode
from collections.abc import Callable
from datetime import date
from pathlib import Path
from shutil import copytree

import polars as pl
import pytest
import redis
from typer.testing import CliRunner

from fraud_assets.features import FEATURES, build_features
from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.ingestion.contracts_cli import app
from fraud_assets.lake import Lake
from fraud_assets.lake.accepted import history, record_contracts
from fraud_core.contracts import Contracts, load_contracts, parse_json
from fraud_core.errors import ContractError
from fraud_core.features import load_features
from fraud_core.log import Log, block_entry, json_entry
from fraud_core.settings import PACKAGED_CONTRACTS, Settings

pytestmark = pytest.mark.valkey
MakeEvent = Callable[..., bytes]
WALLET = """      - name: wallet
        logicalType: string
        description: Name of the wallet that the payment was made with.
        logicalTypeOptions: {maxLength: 20}
        examples: [tap]
"""


class Death(BaseException):
    """Stands for a killed process."""


def dies_after_quarantine(name: str) -> None:
    if name == "after_quarantine_commit":
        raise Death


def edited(
    settings: Settings, name: str, version: str, *changes: tuple[str, str], added: str = ""
) -> Settings:
    """Settings with a copy of the packaged contracts in which `transactions` is another version."""
    folder = settings.home / name
    copytree(PACKAGED_CONTRACTS, folder)
    path = folder / "transactions.odcs.yaml"
    text = path.read_text().replace("version: 1.0.0", f"version: {version}", 1).rstrip() + "\n" + added
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    path.write_text(text)
    return settings.changed(contracts=folder)


def wider(settings: Settings, version: str = "1.1.0") -> Settings:
    return edited(settings, f"wider-{version}", version, added=WALLET)


def stricter(settings: Settings, version: str) -> Settings:
    return edited(settings, f"stricter-{version}", version, ("maximum: 10000000000,", "maximum: 500,"))


def versions(lake: Lake) -> dict[str, int]:
    """Delta version of every table."""
    return {path.name: lake.table(path.name).version() for path in Path(lake.uri).iterdir()}


def test_a_new_optional_field_flows_and_producers_of_both_versions_mix(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, contracts: Contracts
) -> None:
    log.append("transactions", [json_entry(event(1)), json_entry(event(2, wallet="early"))])
    run_ingest(settings)
    new = wider(settings)
    renewed = load_contracts(new.contracts)
    old_block = parse_json(contracts.transactions, [event(5), event(6)]).frame
    mixed_block = parse_json(renewed.transactions, [event(7), event(8, wallet="dip")]).frame
    log.append(
        "transactions",
        [
            json_entry(event(3)),
            json_entry(event(4, wallet="tap")),
            block_entry(old_block),
            block_entry(mixed_block),
        ],
    )
    totals = run_ingest(new)
    assert (totals.valid, totals.violations) == (6, 0)
    rows = lake.scan("transactions").sort("transaction_id").collect()
    assert rows["wallet"].to_list() == [None, None, "tap", None, None, None, "dip"]
    held = lake.scan("quarantine_transactions").collect()
    assert held["reasons"].to_list() == [["row.unknown_field"]]
    assert set(lake.scan("ledger").collect()["contract_version"]) == {"1.0.0", "1.1.0"}
    assert verify(new).ok
    last = history(lake).filter(contract="transactions").row(-1, named=True)
    assert (last["version"], last["changes"]) == ("1.1.0", ["optional field wallet (string) is new"])
    assert "wallet" in renewed.transactions.json_schema()["properties"]


def test_features_read_a_new_field_as_null_where_rows_are_older(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    log.append("transactions", [json_entry(event(1))])
    run_ingest(settings)
    old = load_contracts(settings.contracts)
    day = date(2026, 9, 1)
    build_features(lake, old, load_features(old.features_path, old), day, day)
    new = wider(settings)
    declared = new.contracts / "features.yaml"
    wallet = "  wallet_given: {present: {of: wallet}, reason: No wallet was used.}\n"
    text, replaced = re.subn(r"^  night: .*\n", wallet, declared.read_text(), flags=re.MULTILINE)
    assert replaced == 1
    declared.write_text(text)
    contracts = load_contracts(new.contracts)
    log.append("transactions", [json_entry(event(2, wallet="tap"))])
    run_ingest(new)
    features = load_features(declared, contracts)
    build_features(lake, contracts, features, day, day)
    rows = lake.scan(FEATURES).sort("transaction_id").collect()
    assert rows["wallet_given"].to_list() == [0.0, 1.0]
    assert rows["night"].to_list() == [None, None], (
        "a feature that is no longer declared stays as an empty column"
    )
    assert set(rows["feature_set_hash"]) == {features.hash}


@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        (("- name: device_id", "- name: gadget_id"), "2.0.0", "field device_id was removed"),
        (("maximum: 10000000000,", "maximum: 500,"), "1.0.0", "maximum 10000000000 → 500"),
        (("maximum: 10000000000,", "maximum: 500,"), "1.1.0", "does not raise the major number"),
        (("maximum: 10000000000,", "maximum: 500,"), "2.0.0", "spearhead contracts accept transactions"),
    ],
)
def test_a_breaking_change_is_refused_before_anything_is_written(
    settings: Settings,
    log: Log,
    lake: Lake,
    event: MakeEvent,
    change: tuple[str, str],
    version: str,
    words: str,
) -> None:
    log.append("transactions", [json_entry(event(1))])
    run_ingest(settings)
    log.append("transactions", [json_entry(event(2))])
    before = versions(lake)
    with pytest.raises(ContractError, match=words) as raised:
        run_ingest(edited(settings, "broken", version, change))
    assert "Nothing was written" in str(raised.value)
    assert versions(lake) == before
    assert run_ingest(settings).valid == 1


def test_a_new_field_without_a_new_version_is_refused(settings: Settings, log: Log, event: MakeEvent) -> None:
    log.append("transactions", [json_entry(event(1))])
    run_ingest(settings)
    with pytest.raises(ContractError, match="Raise the minor number"):
        run_ingest(wider(settings, "1.0.1"))


def test_an_older_contract_writes_no_more_once_the_lake_is_ahead(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    log.append("transactions", [json_entry(event(1))])
    run_ingest(wider(settings))
    before = versions(lake)
    with pytest.raises(ContractError, match="ahead of this process"):
        run_ingest(settings)
    assert versions(lake) == before


def test_a_stricter_contract_comes_into_force_by_a_persons_word(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append("transactions", [json_entry(event(1, amount=900))])
    run_ingest(settings)
    strict = stricter(settings, "2.0.0")
    for name, value in strict.environment().items():
        monkeypatch.setenv(name, value)
    runner = CliRunner()
    refused = runner.invoke(app, ["check", "--json"])
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)[0]["verdict"] == "to be accepted"
    word = ["accept", "transactions", "--approver", "Ada", "--reason", "limit agreed"]
    assert "in force" in runner.invoke(app, word, catch_exceptions=False).stdout
    assert "nothing to accept" in runner.invoke(app, word, catch_exceptions=False).stdout
    assert runner.invoke(app, ["check"]).exit_code == 0
    log.append("transactions", [json_entry(event(2, amount=900)), json_entry(event(3, amount=5))])
    totals = run_ingest(strict)
    assert (totals.valid, totals.reasons["amount_minor.maximum"]) == (1, 1)
    shown = json.loads(runner.invoke(app, ["history", "--json"]).stdout)
    assert [
        (row["version"], row["accepted_by"], row["reason"])
        for row in shown
        if row["contract"] == "transactions"
    ] == [
        ("1.0.0", "ingestion", ""),
        ("2.0.0", "Ada", "limit agreed"),
    ]


@pytest.mark.parametrize("change", ["wider", "stricter"])
def test_a_range_is_finished_under_the_verdicts_that_were_recorded(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, change: str
) -> None:
    """The contract changes between the quarantine commit and the main commit of one plan."""
    log.append("transactions", [json_entry(event(1, amount=900)), json_entry(event(2, wallet="tap"))])
    with pytest.raises(Death):
        run_ingest(settings, failpoint=dies_after_quarantine)
    new = wider(settings) if change == "wider" else stricter(settings, "2.0.0")
    if change == "stricter":
        record_contracts(lake, [load_contracts(new.contracts).transactions], "Ada", "limit agreed")
    log.append("transactions", [json_entry(event(3, amount=900))])
    totals = run_ingest(new)
    assert (totals.valid, totals.violations) == ((2, 1) if change == "wider" else (1, 2))
    held = lake.scan("quarantine_transactions").sort("_offset").collect()
    assert held["event_id"].to_list()[0] == "tx-00000002"
    assert held["reasons"].to_list()[0] == ["row.unknown_field"], (
        "judged before the field was known, and never again"
    )
    assert "tx-00000001" in lake.scan("transactions").select(pl.col("transaction_id")).collect().to_series()
    assert verify(new).ok


def test_runs_that_meet_record_a_version_once(lake: Lake, contracts: Contracts) -> None:
    for _ in range(3):
        record_contracts(lake, [contracts.transactions, contracts.labels])
    assert history(lake).select("contract", "place").rows() == [("labels", 1), ("transactions", 1)]


def test_an_entry_of_an_unknown_framing_goes_to_quarantine_with_its_fields_and_stops_nothing(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, valkey_url: str
) -> None:
    log.append("transactions", [json_entry(event(1))])
    with redis.Redis.from_url(valkey_url) as client:
        key = f"{settings.namespace}:log:{{transactions.0}}"
        client.xadd(key, {"j2": event(2)})
        client.xadd(key, {"j1": event(3), "z": b"1"})
    log.append("transactions", [json_entry(event(4))])
    totals = run_ingest(settings)
    assert (totals.valid, totals.reasons) == (2, {"row.unknown_framing": 2})
    held = lake.scan("quarantine_transactions").sort("_offset").collect()
    assert held["reasons"].to_list() == [["row.unknown_framing"]] * 2
    kept = json.loads(held["payload"][0])
    assert b64decode(dict(kept["fields_base64"])["j2"]) == event(2)
    assert verify(settings).ok

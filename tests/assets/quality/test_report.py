"""The report says what was refused and why, shows no personal value, and needs no network."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraud_assets.quality import ReportResult, build_report, refused, write_index
from fraud_assets.quality.cli import place_of_all
from fraud_core.contracts import Contract, judge, load_contracts, parse_json
from fraud_core.errors import LakeError
from fraud_core.settings import PACKAGED_CONTRACTS, load_settings

NOW_MS = 1_788_266_100_000
CARD = "4111111111111111"
SECRET = "acc_geheim_4711"
BAD: list[dict[str, Any]] = [
    {"card_id": CARD},
    {"amount_minor": -5, "amount_base_minor": -5},
    {"account_id": SECRET, "channel": "<script>alert(1)</script>"},
    {"latitude": "fifty"},
    {"merchant_category": CARD},
    {"colour": SECRET},
]


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contracts(PACKAGED_CONTRACTS).transactions


def split(contract: Contract, changes: list[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Valid rows and quarantine rows, as ingestion writes them."""
    events = [
        {**contract.example(), "transaction_id": f"txn_{row:08d}", **change}
        for row, change in enumerate(changes)
    ]
    parsed = parse_json(contract, [json.dumps(event).encode() for event in events])
    known = np.full(len(events), NOW_MS) + np.arange(len(events)) * 1000
    known_at = pl.Series("known_at", known * 1000).cast(pl.Datetime("us", "UTC"))
    verdict = judge(contract, parsed.frame, known, parsed.found)
    quarantined = pl.DataFrame(
        {
            "kind": ["violation"] * len(verdict.violating),
            "reasons": [list(verdict.reasons[row]) for row in verdict.violating.tolist()],
            "payload": [parsed.payload(row) for row in verdict.violating.tolist()],
            "known_at": known_at[verdict.violating],
        },
        schema_overrides={"reasons": pl.List(pl.String), "payload": pl.Binary},
    )
    return parsed.frame.with_columns(known_at).filter(verdict.valid), quarantined


def report(
    contract: Contract, folder: Path, changes: list[dict[str, Any]], **options: Any
) -> tuple[ReportResult, str]:
    valid, quarantined = split(contract, changes)
    result = build_report(contract, valid, quarantined, folder, "Transactions <today>", **options)
    return result, result.path.read_text(encoding="utf-8")


def test_a_report_counts_every_reason_and_agrees(contract: Contract, tmp_path: Path) -> None:
    result, page = report(contract, tmp_path, [{}] * 20 + BAD)
    assert result.success
    assert (result.admitted, result.refused, result.duplicates) == (20, 6, 0)
    assert result.counts["card_id.card_number"] == 1
    assert result.counts["row.unknown_field"] == 1
    assert result.disagreements == ()
    assert "card_id.card_number" in page
    assert "spearhead quarantine list --stream transactions --reason " in page
    assert "1.0.0" in page


def test_a_page_shows_no_personal_value_and_loads_nothing(contract: Contract, tmp_path: Path) -> None:
    _, page = report(contract, tmp_path, [{}] * 3 + BAD)
    both = page + (tmp_path / "report.json").read_text(encoding="utf-8")
    assert CARD not in both
    assert SECRET not in both
    assert "52.5201" not in both
    assert "<script" not in page
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert "Transactions &lt;today&gt;" in page


def test_a_violation_that_reached_the_table_fails_the_report(contract: Contract, tmp_path: Path) -> None:
    valid, quarantined = split(contract, [{}] * 5)
    slipped = valid.with_columns(amount_minor=pl.lit(-1, pl.Int64))
    result = build_report(contract, slipped, quarantined, tmp_path, "Slipped")
    assert not result.success
    assert "amount_minor.minimum" in result.disagreements
    assert "look here" in result.path.read_text(encoding="utf-8")


def test_the_same_id_twice_in_the_table_fails_the_report(contract: Contract, tmp_path: Path) -> None:
    valid, quarantined = split(contract, [{}] * 2)
    result = build_report(contract, pl.concat([valid, valid]), quarantined, tmp_path, "Twice")
    assert result.disagreements == ("transaction_id.duplicate_other_body",)


def test_sealed_rows_are_counted_though_not_read(contract: Contract, tmp_path: Path) -> None:
    def sealed(_payload: bytes) -> bytes:
        raise LakeError("sealed")

    result, page = report(contract, tmp_path, [{}] * 3 + BAD, unseal=sealed)
    assert result.success
    assert result.refused == 6
    assert result.counts["amount_minor.minimum"] == 1
    assert "sealed" in page


def test_nothing_at_all_is_a_report_too(contract: Contract, tmp_path: Path) -> None:
    result, page = report(contract, tmp_path, [{}])
    assert result.success
    assert "Nothing was refused" in page
    valid, quarantined = split(contract, [{}])
    empty = build_report(contract, valid.clear(), quarantined, tmp_path / "empty", "Empty")
    assert empty.success


def test_many_rows_are_sampled_and_the_page_says_so(contract: Contract, tmp_path: Path) -> None:
    result, page = report(contract, tmp_path, [{}] * 50, max_rows=10)
    assert result.admitted == 50
    assert "sampled evenly (10 of 50)" in page


def test_large_refused_events_are_counted_and_only_some_are_read(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, quarantined = split(contract, [{"colour": "red"}] * 20)
    monkeypatch.setattr(refused, "MOST_BYTES", 3 * len(quarantined["payload"][0]))
    found = refused.read_refused(contract, quarantined.lazy(), bytes, 200)
    assert (found.count, found.typed.height) == (20, 3)
    assert found.counts == {"row.unknown_field": 20}


def test_the_index_lists_reports_newest_first(contract: Contract, tmp_path: Path) -> None:
    assert "No report yet" in write_index(tmp_path).read_text(encoding="utf-8")
    for name in ("first", "second"):
        build_report(contract, *split(contract, [{}]), tmp_path / "transactions" / name, f"The {name}")
        summary = tmp_path / "transactions" / name / "report.json"
        stamped = json.loads(summary.read_text()) | {
            "made_at": f"2026-09-0{1 + (name == 'second')}T00:00:00+00:00"
        }
        summary.write_text(json.dumps(stamped))
    page = write_index(tmp_path).read_text(encoding="utf-8")
    assert page.index("The second") < page.index("The first")
    assert 'href="transactions/first/index.html"' in page


def test_all_reports_are_at_an_address_or_in_their_folder_while_there_is_none(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, home=tmp_path, reports_port=7003)
    assert place_of_all(settings) == "http://127.0.0.1:7003/ while the platform runs"
    unchosen = place_of_all(settings.changed(reports_port=0))
    assert unchosen == f"{settings.reports_path.as_uri()}/index.html"

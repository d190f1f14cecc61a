"""Great Expectations, the hot path and the check of single events give the same verdict on whatever breaks a contract."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_assets.ingestion.uniqueness import DUPLICATE, OTHER_BODY, Identities, UniquenessWindow
from fraud_assets.quality import ReportResult, build_report
from fraud_core.contracts import Contract, load_contracts, parse_json
from fraud_core.contracts.judge import judge
from fraud_core.settings import PACKAGED_CONTRACTS
from tests.assets.quality.edits import REPEAT, Edit, edits, event, known_ms, payload

CONTRACTS = load_contracts(PACKAGED_CONTRACTS)
STREAMS = ["transactions", "labels", "decisions"]


def gate(contract: Contract, changes: list[list[Edit]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Valid rows and quarantined ones, as ingestion judges and writes them."""
    events = [event(contract, number, each) for number, each in enumerate(changes)]
    parsed = parse_json(contract, [payload(each) for each in events])
    known = known_ms(contract)
    known_of_each = np.full(len(events), known)
    reasons = {
        row: list(codes)
        for row, codes in judge(contract, parsed.frame, known_of_each, parsed.found).reasons.items()
    }
    for row, each in enumerate(events):
        read = json.loads(payload(each))
        assert contract.event_check.codes(read, known) == reasons.get(row, []), each
    keeps = np.array([row not in reasons for row in range(len(events))])
    seen = UniquenessWindow(1_000).judge(Identities.of(contract, parsed.frame), keeps)
    reasons |= {
        row: [f"{contract.event_id}.duplicate_other_body"]
        for row in np.flatnonzero(seen == OTHER_BODY).tolist()
    }
    duplicates = np.flatnonzero(seen == DUPLICATE).tolist()
    rows = [*sorted(reasons), *duplicates]
    known_at = pl.Series("known_at", known_of_each * 1000).cast(pl.Datetime("us", "UTC"))
    quarantined = pl.DataFrame(
        {
            "kind": ["violation"] * len(reasons) + ["duplicate"] * len(duplicates),
            "reasons": [*(reasons[row] for row in sorted(reasons)), *([] for _ in duplicates)],
            "payload": [*(parsed.payload(row) for row in sorted(reasons)), *(None for _ in duplicates)],
            "known_at": known_at[rows],
        },
        schema_overrides={"kind": pl.String, "reasons": pl.List(pl.String), "payload": pl.Binary},
    )
    valid = parsed.frame.with_columns(known_at).filter(keeps & (seen != OTHER_BODY) & (seen != DUPLICATE))
    return valid, quarantined


def judged_again(contract: Contract, changes: list[list[Edit]], folder: Path) -> ReportResult:
    valid, quarantined = gate(contract, changes)
    return build_report(contract, valid, quarantined, folder, "Generated")


@pytest.mark.parametrize("stream", STREAMS)
def test_every_rule_is_broken_once_and_both_judges_say_so(stream: str, tmp_path: Path) -> None:
    contract = CONTRACTS.for_stream(stream)
    one_by_one = [[each] for each in edits(contract)]
    # Rules across fields need more than one change.
    some = edits(contract)[::7]
    together = [[one, other] for one, other in zip(some[::2], some[1::2], strict=False)]
    together += [[(contract.event_id, REPEAT), each] for each in edits(contract)[::5]]
    together += {
        "transactions": [
            [("channel", "ecom"), ("card_present", True)],
            [("currency", "EUR"), ("amount_minor", 5)],
        ],
        "labels": [
            [("event_ts", "2026-09-06T08:00:00.500Z")],
            [(contract.event_id, REPEAT), ("is_fraud", False)],
        ],
        "decisions": [[("model_version", None), ("fallback_reason", None)]],
    }[stream]
    result = judged_again(contract, [[], *one_by_one, *together], tmp_path)
    assert result.disagreements == ()
    assert result.success
    elsewhere = {"unknown_framing", "unparseable", "repeated_field"}  # found in bytes, not in values
    unbroken = {check.code for check in contract.checks if check.rule not in elsewhere} - set(result.counts)
    assert unbroken == set(), "a rule that nothing here breaks proves nothing"


@pytest.mark.parametrize("stream", STREAMS)
@hypothesis_settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_both_judges_agree_on_generated_events(stream: str, data: st.DataObject, tmp_path: Path) -> None:
    agree(stream, data, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stream", STREAMS)
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_both_judges_agree_on_many_generated_events(stream: str, data: st.DataObject, tmp_path: Path) -> None:
    agree(stream, data, tmp_path)


def agree(stream: str, data: st.DataObject, folder: Path) -> None:
    contract = CONTRACTS.for_stream(stream)
    changes = st.lists(st.sampled_from(edits(contract)), max_size=4)
    drawn = data.draw(st.lists(changes, min_size=1, max_size=60))
    result = judged_again(contract, drawn, folder)
    assert result.disagreements == ()
    assert result.success
    assert result.admitted + result.refused + result.duplicates == len(drawn)

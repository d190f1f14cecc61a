"""No page tells whose payment it was: whatever a producer gets wrong, no value of a personal column stands on any page."""

import json
from html import escape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_assets.quality import build_report, report, write_index
from fraud_assets.quality.validation import Outcome
from fraud_core.contracts import Contract, load_contracts, parse_json
from fraud_core.contracts.judge import judge
from fraud_core.settings import PACKAGED_CONTRACTS
from tests.assets.quality.edits import event, known_ms

CONTRACTS = load_contracts(PACKAGED_CONTRACTS)

SECRETS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{9,40}", fullmatch=True).filter(lambda text: any(map(str.isdigit, text))),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=9, max_size=30).filter(
        lambda text: text == text.strip()
    ),
    st.integers(10**11, 10**18),
    st.floats(-179, 179).map(lambda number: round(number, 7)).filter(lambda number: len(str(number)) > 8),
)
"""Values long enough that a page cannot show them by chance."""


@st.composite
def leaky_events(draw: st.DrawFn, contract: Contract) -> list[dict[str, Any]]:
    """Events whose personal values are broken, and stand in other fields, in names, inside texts and in each other's events."""
    private = [field.name for field in contract.fields if field.pii != "none"]
    public = [
        field.name for field in contract.fields if field.pii == "none" and field.name != contract.event_id
    ]
    known: list[Any] = []
    events = []
    for number in range(draw(st.integers(1, 6))):
        made = event(contract, number, [])
        for name in draw(st.lists(st.sampled_from(private), min_size=1, max_size=4, unique=True)):
            made[name] = draw(SECRETS)
            known.append(made[name])
        for name in draw(st.lists(st.sampled_from(public), max_size=4, unique=True)):
            stray = draw(st.sampled_from(known))
            made[name] = draw(st.sampled_from([stray, f"see {stray}", f"{stray}!", [stray], {"was": stray}]))
        if draw(st.booleans()):
            made[str(draw(st.sampled_from(known)))] = 1
        if draw(st.booleans()):
            made[contract.event_id] = "?"
        events.append(made)
    return events


@pytest.mark.parametrize("stream", ["transactions", "decisions"])
@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_personal_value_of_any_refused_row_is_on_any_page(
    stream: str, data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Great Expectations is given masked columns and only counts: without it, many more events can be tried.
    monkeypatch.setattr(
        report, "validate", lambda contract, _: {check.code: Outcome(0, 0) for check in contract.checks}
    )
    contract = CONTRACTS.for_stream(stream)
    events = data.draw(leaky_events(contract))
    parsed = parse_json(contract, [json.dumps(each).encode() for each in events])
    verdict = judge(contract, parsed.frame, [known_ms(contract)] * len(events), parsed.found)
    refused = verdict.violating.tolist()
    quarantined = pl.DataFrame(
        {
            "reasons": [list(verdict.reasons[row]) for row in refused],
            "payload": [parsed.payload(row) for row in refused],
        },
        schema={"reasons": pl.List(pl.String), "payload": pl.Binary},
    )
    folder = tmp_path / "reports"
    build_report(contract, parsed.frame.filter(verdict.valid), quarantined, folder / stream / "now", "Leaky")
    write_index(folder)
    pages = written(folder)
    # What the contract itself says stands on every page: a bound such as 10000000000 is no secret.
    build_report(contract, parsed.frame.clear(), quarantined.clear(), tmp_path / "empty", "Leaky")
    always = written(tmp_path / "empty")
    private = [field.name for field in contract.fields if field.pii != "none"]
    for row in refused:
        for name in private:
            value = events[row].get(name)
            if value is None or value == contract.example().get(name):
                continue
            shown = value if isinstance(value, str) else json.dumps(value)
            assert shown in always or (shown not in pages and escape(shown) not in pages), (name, shown)


def written(folder: Path) -> str:
    """All that stands in the pages of a folder."""
    return "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.*"))

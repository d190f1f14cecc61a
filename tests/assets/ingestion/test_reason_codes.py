"""Every code that ingestion can give is listed, with words, and the documentation's page is made of the list."""

from pathlib import Path

import pytest

from fraud_assets.ingestion.reason_codes import reason_codes, reasons_page
from fraud_assets.lake import STREAMS
from fraud_core.contracts import Contracts

PAGE = Path(__file__).parents[3] / "docs" / "reason-codes.md"


@pytest.mark.snapshot
def test_the_page_of_reason_codes_is_as_committed(
    contracts: Contracts, request: pytest.FixtureRequest
) -> None:
    made = reasons_page(contracts, STREAMS)
    if request.config.getoption("--renew-snapshots"):
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made, "run `make snapshots` and commit docs/reason-codes.md"


@pytest.mark.parametrize("stream", STREAMS)
def test_every_code_has_words_and_stands_once(contracts: Contracts, stream: str) -> None:
    listed = reason_codes(contracts, stream)
    assert len({code for code, _ in listed}) == len(listed)
    assert all(code and words for code, words in listed)
    codes = dict(listed)
    assert "row.virtual_time" in codes
    assert ("event.amount_minor.minimum" in codes) is (stream == "decisions")

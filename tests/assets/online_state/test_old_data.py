"""A file of last year, replayed today: its state is compared by the file's own clock, not by the wall's."""

from datetime import timedelta

import pytest

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import open_lake
from fraud_assets.online_state import rebuild_state
from fraud_assets.online_state.verify import StateProof, verify_state
from fraud_core.log import Log
from fraud_core.settings import Settings
from tests.assets import history
from tests.assets.history import decide, declarations, ingested_past, now_payments

pytestmark = pytest.mark.valkey
AGO = timedelta(days=300)


def verified(settings: Settings, log: Log) -> StateProof:
    return verify_state(settings, open_lake(settings), log, *declarations(settings), sample=0)


def test_the_state_of_an_old_file_is_compared_and_what_outlived_it_is_not_called_different(
    settings: Settings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "END", history.END - AGO)
    old = ingested_past(settings, days=2)
    built = rebuild_state(old, open_lake(old), log, *declarations(old), reason="test")
    before = verified(old, log)
    assert built.rebuilt.events > 300
    assert (before.differences, before.expired) == ([], 0)
    assert before.compared == sum(built.rebuilt.entities.values())
    [*late] = now_payments(5)
    for payment in late:
        payment["event_ts"] = (history.END - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    decide(old, late)
    assert verified(old, log).differences == []
    run_ingest(old)  # what is known last is of today: all that the file brought has had its time
    after = verified(old, log)
    assert (after.differences, after.compared, after.in_flight) == ([], 0, 0)
    assert after.expired > 0

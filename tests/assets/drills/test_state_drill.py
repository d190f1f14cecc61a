"""What the drill of the online state takes for a proof: figures without anything behind them are none."""

from dataclasses import replace
from pathlib import Path

import pytest

from fraud_assets.drills.state import StateDrillResult, drill_state
from fraud_core.errors import SettingsError
from fraud_core.settings import load_settings

PROVED = StateDrillResult(decisions_with_vector=90, compared=90, entities_compared=47)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"lost_decisions": 3}, None),
        ({"decisions_with_vector": 0, "compared": 0}, "Not one vector"),
        ({"entities_compared": 0}, "Not one entity"),
        ({"compared": 89}, "1 decisions could not be compared"),
        ({"mismatches": 2}, "2 values differ, the first: that one"),
        ({"lost_decisions": 3, "lost_in_calm": 1}, "1 decisions that were answered as logged"),
    ],
)
def test_a_drill_that_compared_nothing_or_lost_what_was_kept_is_no_success(
    change: dict[str, int], words: str | None
) -> None:
    found = replace(PROVED, **change, problems=[])
    found.conclude("that one")
    assert found.ok is (words is None)
    assert words is None or words in found.problems[0]


@pytest.mark.parametrize("losses", [(), ("wiped", "stolen")])
def test_a_drill_without_a_known_loss_is_refused(tmp_path: Path, losses: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="Name at least one"):
        drill_state(load_settings(_env_file=None), folder=tmp_path, losses=losses)

"""The benchmarks of upkeep measure what they say; their figures are no test."""

from pathlib import Path

from fraud_assets.benchmarks.commits import measure
from fraud_assets.lake import Lake


def test_commits_are_counted_and_the_log_stays_short(tmp_path: Path) -> None:
    found = measure(Lake(str(tmp_path)), 60, 5, every=10)
    assert (found["commits"], found["rows"], len(found["parts"])) == (60, 300, 10)
    assert found["files"] == 1
    assert found["cpu_growth"] > 0
    assert measure(Lake(str(tmp_path / "other")), 20, 5, every=None)["files"] == 20

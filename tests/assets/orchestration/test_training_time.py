"""The time for which a training set is made, as a run's configuration says it."""

from datetime import UTC, datetime

import polars as pl
import pytest

from fraud_assets.orchestration.training.assets import TrainingSetConfig, _training_time
from fraud_core.errors import TrainingError

NO_ROWS = pl.LazyFrame(schema={"known_at": pl.Datetime("us", "UTC")})


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("2026-09-30T12:00:00+02:00", datetime(2026, 9, 30, 10, tzinfo=UTC)),
        ("2026-09-30T12:00:00Z", datetime(2026, 9, 30, 12, tzinfo=UTC)),
        ("2026-09-30T12:00:00", datetime(2026, 9, 30, 12, tzinfo=UTC)),
        ("2026-09-30", datetime(2026, 9, 30, tzinfo=UTC)),
    ],
)
def test_a_training_time_is_the_moment_its_offset_says_and_utc_without_one(
    told: str, meant: datetime
) -> None:
    assert _training_time(TrainingSetConfig(trained_at=told), NO_ROWS) == meant


def test_a_training_time_that_is_none_is_refused_with_advice() -> None:
    with pytest.raises(TrainingError, match=r"found 'yesterday'\. Correct it in the run's configuration"):
        _training_time(TrainingSetConfig(trained_at="yesterday"), NO_ROWS)

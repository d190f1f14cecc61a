"""Time windows of a training set: train | delay | test, the last part of train being validation.

Invariant: windows follow one another in time and never overlap; the delay keeps as long between training and test as
labels need to settle, because a model trained at the test's first day would not know younger ones.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fraud_core.errors import TrainingError

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Windows:
    """Half-open bounds: train [train_from, validation_from), validation, delay, test [test_from, test_to)."""

    train_from: datetime
    validation_from: datetime
    train_to: datetime
    test_from: datetime
    test_to: datetime

    def __post_init__(self) -> None:
        order = (self.train_from, self.validation_from, self.train_to, self.test_from, self.test_to)
        if not order[0] < order[1] < order[2] <= order[3] < order[4]:
            raise TrainingError(
                "Windows must follow one another: train < validation < train's end <= test < test's end; found "
                f"{', '.join(f'{bound:%Y-%m-%d %H:%M}' for bound in order)}. Correct the one that is out of order."
            )

    @property
    def delay(self) -> timedelta:
        """Time between the end of training and the start of the test."""
        return self.test_from - self.train_to

    def as_text(self) -> dict[str, str]:
        """Bounds as ISO-8601 texts, for manifests and metadata."""
        return {name: getattr(self, name).isoformat() for name in self.__dataclass_fields__}


def choose_windows(
    first: datetime,
    trained_at: datetime,
    maturity: timedelta,
    *,
    newest: datetime | None = None,
    test: timedelta | None = None,
    delay: timedelta | None = None,
    train: timedelta | None = None,
    warm_up: timedelta | None = None,
    validation_share: float = 0.15,
) -> Windows:
    """Choose windows in whole UTC days from the range of the data.

    first: time of the oldest event. trained_at: T; events after T - maturity are not eligible. newest: time of the newest
    eligible event, where the windows end when the history itself ended before T - maturity. What is None is chosen:
    test = 15 % of the eligible range, 1 to 14 days; delay = maturity, at most a quarter of the range; warm_up (the
    first days, whose features look back on nothing) = 10 % of the range, at most 14 days, of what is left; train =
    everything between. Raises TrainingError when the range is too short.
    """
    start = floor_day(first)
    end = floor_day(trained_at - maturity)
    if newest is not None:
        end = min(end, floor_day(newest) + DAY)
    days = max((end - start) // DAY, 0)
    if days < 4:
        raise TrainingError(
            f"Training needs at least 4 whole days of payments older than {_days(maturity)} days (label maturity), and "
            f"{days} were found between {first:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M}. Ingest a longer history."
        )
    test_days = _whole(test) if test else min(max(round(days * 0.15), 1), 14)
    delay_days = _whole(delay) if delay is not None else min(_whole(maturity), days // 4)
    rest = days - test_days - delay_days
    warm_days = _whole(warm_up) if warm_up is not None else min(days // 10, 14)
    train_days = _whole(train) if train else rest - warm_days
    if train_days < 2 or train_days > rest:
        raise TrainingError(
            f"Of {days} eligible days, {test_days} are for the test and {delay_days} for the delay; {rest} are left, and "
            f"{train_days} days of training do not fit. Train on at least 2 days, or shorten the others."
        )
    test_from = end - test_days * DAY
    train_to = test_from - delay_days * DAY
    validation_days = min(max(round(train_days * validation_share), 1), train_days - 1)
    return Windows(
        train_from=train_to - train_days * DAY,
        validation_from=train_to - validation_days * DAY,
        train_to=train_to,
        test_from=test_from,
        test_to=end,
    )


def floor_day(at: datetime) -> datetime:
    """Midnight (UTC) at or before."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _whole(span: timedelta) -> int:
    return -(-span // DAY)


def _days(span: timedelta) -> str:
    return f"{span / DAY:g}"

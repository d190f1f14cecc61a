"""How fraud comes to be known: days later, by several ways, with a long tail, sometimes never, sometimes wrongly."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_core.simulator.draws import Weighted
from fraud_core.simulator.payments import GENUINE
from fraud_core.simulator.rhythm import DAY_MS
from fraud_core.simulator.world import SCENARIOS

SOURCES: Final = ("chargeback", "customer", "analyst", "rule")
# Median days until the report, spread of its logarithm, share that is ever reported.
_DELAY: Final = {
    "card_testing": (2.5, 0.8, 0.93),
    "account_takeover": (1.5, 0.9, 0.96),
    "compromised_merchant": (3.0, 0.9, 0.93),
    "atm_cashout": (1.0, 0.8, 0.97),
    "friendly_fraud": (9.0, 0.6, 0.98),
    "lost_card": (0.8, 0.9, 0.93),
}
_MEDIAN: Final = np.array([_DELAY[name][0] for name in SCENARIOS])
_SPREAD: Final = np.array([_DELAY[name][1] for name in SCENARIOS])
_EVER: Final = np.array([_DELAY[name][2] for name in SCENARIOS])
_QUICK: Final = Weighted([0.15, 0.5, 0.2, 0.15])
"""Ways in which a fraud comes to be known within days, as SOURCES."""
_CLEARED: Final = 0.0015
"""Share of honest payments that an analyst looks at and clears."""
_MISTAKEN: Final = 0.0001
"""Share of honest payments that a holder reports by mistake; an analyst corrects most of them."""
TYPICAL_DELAY_MS: Final = 2 * DAY_MS

SCHEMA: Final[dict[str, pl.DataType]] = {
    "transaction_id": pl.String(),
    "event_ts": pl.Datetime("us", "UTC"),
    "is_fraud": pl.Boolean(),
    "reported_at": pl.Datetime("us", "UTC"),
    "source": pl.String(),
    "_virtual_ms": pl.Int64(),
}


@dataclass(frozen=True)
class Reports:
    """One item per label, in no particular order."""

    payment: NDArray[np.int64]
    """Row of the payment."""
    is_fraud: NDArray[np.bool_]
    source: NDArray[np.int64]
    """Index into SOURCES."""
    reported_ms: NDArray[np.int64]
    arrival_ms: NDArray[np.int64]
    """When the label reaches the log."""

    def take(self, rows: NDArray[Any]) -> "Reports":
        """These rows (indices or a mask)."""
        return Reports(*(getattr(self, name)[rows] for name in _NAMES))


_NAMES: Final = tuple(item.name for item in fields(Reports))


def draw_reports(
    rng: np.random.Generator, time_ms: NDArray[np.int64], scenario: NDArray[np.int8], pace: float = 1.0
) -> Reports:
    """All labels that these payments will ever get; `pace` divides all delays."""
    fraud = np.flatnonzero(scenario != GENUINE)
    kind = scenario[fraud]
    days = np.exp(np.log(_MEDIAN[kind]) + _SPREAD[kind] * rng.normal(size=len(fraud))) + 0.05
    reported = rng.random(len(fraud)) < _EVER[kind]
    # Disputes through the card scheme take their time; the other ways are quick.
    source = np.where(days > 4, 0, _QUICK.draw(rng, len(fraud)))

    honest = np.flatnonzero(scenario == GENUINE)
    draw = rng.random(len(honest))
    mistaken, cleared = honest[draw < _MISTAKEN], honest[draw > 1 - _CLEARED]
    mistake_days = rng.gamma(2.0, 2.0, len(mistaken)) + 0.1
    corrected = rng.random(len(mistaken)) < 0.9
    correction_days = mistake_days + rng.gamma(2.0, 3.0, len(mistaken)) + 0.1

    rows = np.concatenate([fraud[reported], mistaken, mistaken[corrected], cleared])
    delay = np.concatenate(
        [days[reported], mistake_days, correction_days[corrected], rng.gamma(2.0, 0.7, len(cleared))]
    )
    verdict = np.zeros(len(rows), dtype=np.bool_)
    verdict[: int(reported.sum()) + len(mistaken)] = True
    by = np.full(len(rows), SOURCES.index("analyst"))
    by[: int(reported.sum())] = source[reported]
    by[int(reported.sum()) : int(reported.sum()) + len(mistaken)] = SOURCES.index("customer")
    reported_ms = time_ms[rows] + (delay * DAY_MS / pace).astype(np.int64) + 1
    return Reports(rows, verdict, by, reported_ms, reported_ms + rng.integers(200, 5_000, len(rows)))


def join_reports(parts: Sequence[Reports]) -> Reports:
    """All rows of all parts."""
    return Reports(*(np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES))


def to_labels(reports: Reports, ids: pl.Series, time_ms: NDArray[np.int64]) -> pl.DataFrame:
    """The reports as rows of the labels contract, in order of arrival (`_virtual_ms`, ms).

    `ids` and `time_ms` are those of each report's payment.
    """
    frame = pl.DataFrame(
        {
            "transaction_id": ids,
            "event_ts": pl.Series(time_ms * 1000).cast(pl.Datetime("us", "UTC")),
            "is_fraud": reports.is_fraud,
            "reported_at": pl.Series(reports.reported_ms * 1000).cast(pl.Datetime("us", "UTC")),
            "source": pl.Series(SOURCES, dtype=pl.String).gather(reports.source),
            "_virtual_ms": reports.arrival_ms,
        },
        schema=SCHEMA,
    )
    return frame.sort("_virtual_ms", "transaction_id", maintain_order=True)

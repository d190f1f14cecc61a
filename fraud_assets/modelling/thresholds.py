"""Choosing the scores at which payments are reviewed and declined, from the validation rows.

Invariant: a threshold is an exact float32 that a score is compared with (score >= threshold), and decline >= review.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraud_assets.modelling.ranking import rank
from fraud_core.release import Thresholds

NEVER = 2.0  # above every probability


@dataclass(frozen=True)
class Appetite:
    """What the business can bear.

    alert_share: share of payments that may be reviewed or declined; decline_precision: share of frauds wanted among
    declined payments; least_declined: payments that a precision must rest on to be believed.
    """

    alert_share: float = 0.01
    decline_precision: float = 0.9
    least_declined: int = 20


def choose_thresholds(
    scores: npt.ArrayLike, fraud: npt.ArrayLike, appetite: Appetite | None = None
) -> Thresholds:
    """Lowest review threshold within the budget of alerts, lowest decline threshold with the wanted precision.

    scores float32 [rows] and fraud bool [rows] of the validation split. When no score reaches the precision, nothing
    is declined: the threshold lies above every probability.
    """
    wanted = appetite or Appetite()
    ranking = rank(scores, fraud)
    frauds, genuine = ranking.counts()
    alerts = frauds + genuine
    within = np.flatnonzero(alerts <= wanted.alert_share * alerts[-1])
    review = float(ranking.scores[within[-1]]) if len(within) else NEVER
    precise = np.flatnonzero(
        (frauds / alerts >= wanted.decline_precision)
        & (alerts >= min(wanted.least_declined, max(frauds[-1] // 2, 1)))
        & (ranking.scores >= review)
    )
    decline = float(ranking.scores[precise[-1]]) if len(precise) else NEVER
    return Thresholds(review=review, decline=max(decline, review))

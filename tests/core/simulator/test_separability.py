"""The measures are the known ones, and no raw field gives the fraud away."""

import numpy as np
import pytest

from fraud_core.simulator.separability import area_under_curve, average_precision, measure
from fraud_core.simulator.world import WorldSpec


@pytest.mark.parametrize("levels", [3, 50, 10**9])
def test_the_measures_agree_with_scikit_learn_also_on_ties(levels: int) -> None:
    # Here, because importing it takes three seconds, which only this test pays.
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(levels)
    truth = rng.random(2_000) < 0.1
    score = np.floor((rng.random(2_000) + 0.3 * truth) * levels)
    assert area_under_curve(truth, score) == pytest.approx(roc_auc_score(truth, score))
    assert average_precision(truth, score) == pytest.approx(average_precision_score(truth, score))


@pytest.mark.slow
def test_history_tells_what_raw_fields_do_not() -> None:
    result = measure(
        days=60,
        spec=WorldSpec(accounts=2_000, merchants=500, events_per_day=1_500, fraud_share=0.01),
        trees=150,
    )
    assert max(result["single_field_auc"].values()) < 0.8
    assert result["raw_average_precision"] < 0.35
    assert 0.45 < result["history_average_precision"] < 0.95

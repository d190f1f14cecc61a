"""Metrics against scikit-learn and against the handbook's protocol written down naively."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fraud_assets.modelling import ranking as ranked
from fraud_assets.modelling.calibration import calibration_bins, calibration_error, recall_by_amount
from fraud_assets.modelling.card_precision import card_days, card_precision, without_known_compromised
from fraud_assets.modelling.thresholds import NEVER, Appetite, choose_thresholds
from fraud_assets.modelling.training_set import Roles
from fraud_assets.modelling.windows import Windows

ROLES = Roles("id", "at", "card")
DAY = timedelta(days=1)
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels of both kinds, and whole weights of which some are zero."""
    rows = draw(st.integers(2, 60))
    scores = draw(
        hnp.arrays(np.float32, rows, elements=st.sampled_from(np.linspace(0, 1, 8, dtype=np.float32)))
    )
    fraud = draw(hnp.arrays(np.bool_, rows))
    fraud[0], fraud[1] = True, False
    weights = draw(hnp.arrays(np.float64, rows, elements=st.integers(0, 3).map(float)))
    weights[:2] = 1.0
    return scores, fraud, weights


@given(scored())
def test_ranking_metrics_are_scikit_learns(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    # Here, because importing it takes three seconds, which only this test pays.
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores, fraud, weights = case
    order = ranked.rank(scores, fraud)
    for weight in (None, weights):
        assert ranked.auc(order, weight) == pytest.approx(roc_auc_score(fraud, scores, sample_weight=weight))
        assert ranked.average_precision(order, weight) == pytest.approx(
            average_precision_score(fraud, scores, sample_weight=weight)
        )


def test_metrics_without_frauds_are_not_numbers() -> None:
    order = ranked.rank([0.1, 0.2], [False, False])
    assert np.isnan(ranked.auc(order))
    assert np.isnan(ranked.average_precision(order))


def naive_card_precision(rows: pl.DataFrame, scores: np.ndarray, k: int) -> float:
    """The handbook's loop: rank cards by day, drop what was detected, take the mean over days."""
    detected: set[str] = set()
    found = []
    table = [
        (at.date(), card, score, bad)
        for (_, at, card, bad), score in zip(rows.iter_rows(), scores, strict=True)
    ]
    for day in sorted({row[0] for row in table}):
        best: dict[str, float] = {}
        bad_cards = set()
        for _, card, score, bad in (row for row in table if row[0] == day and row[1] not in detected):
            best[card] = max(best.get(card, -1.0), float(score))
            if bad:
                bad_cards.add(card)
        top = sorted(best, key=lambda card: (-best[card], card))[:k]
        hits = [card for card in top if card in bad_cards]
        found.append(len(hits) / k)
        detected.update(hits)
    return float(np.mean(found))


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_card_precision_is_the_handbooks(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    rows = 80
    frame = pl.DataFrame(
        {
            "id": [str(number) for number in range(rows)],
            "at": [MONDAY + timedelta(hours=int(hour)) for hour in random.integers(0, 24 * 4, rows)],
            "card": [f"card-{number:02d}" for number in random.integers(0, 12, rows)],
            "is_fraud": random.random(rows) < 0.15,
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    scores = random.integers(0, 6, rows).astype(np.float32) / 8
    days = card_days(frame, scores, ROLES)
    assert card_precision(days, k) == pytest.approx(naive_card_precision(frame, scores, k))
    assert card_precision(days, k, np.ones(days.entity_count)) == card_precision(days, k)


def test_a_card_drawn_twice_fills_two_places() -> None:
    frame = pl.DataFrame(
        {"id": ["1", "2"], "at": [MONDAY, MONDAY], "card": ["a", "b"], "is_fraud": [True, False]}
    )
    days = card_days(frame, np.array([0.9, 0.1]), ROLES)
    assert card_precision(days, 2) == 0.5
    assert card_precision(days, 2, np.array([2.0, 0.0])) == 1.0
    assert card_precision(days, 2, np.array([0.0, 2.0])) == 0.0


def test_cards_known_to_be_compromised_leave_the_test_as_their_frauds_become_known() -> None:
    windows = Windows(MONDAY, MONDAY + 6 * DAY, MONDAY + 7 * DAY, MONDAY + 14 * DAY, MONDAY + 21 * DAY)
    frauds = {"trained": 3, "early": 8, "late": 16, "long_ago": -2}
    rows = [(card, day, day == bad) for card, bad in frauds.items() for day in (bad, *range(14, 21))]
    frame = pl.DataFrame(
        {
            "id": [str(number) for number in range(len(rows))],
            "at": [MONDAY + day * DAY + timedelta(hours=5) for _, day, _ in rows],
            "card": [card for card, _, _ in rows],
            "is_fraud": [bad for _, _, bad in rows],
        }
    )
    left = without_known_compromised(frame, ROLES, windows)
    days = {
        card: sorted({(at - MONDAY).days for at in left.filter(pl.col("card") == card)["at"]})
        for card in frauds
    }
    assert days["trained"] == []
    # A fraud of day 8 is known after 7 days of delay, so from day 16 on.
    assert days["early"] == [14, 15]
    assert days["late"] == days["long_ago"] == list(range(14, 21))


def test_thresholds_keep_the_budget_and_the_precision() -> None:
    random = np.random.default_rng(5)
    fraud = random.random(20_000) < 0.02
    scores = np.clip(random.normal(0.2 + 0.5 * fraud, 0.12), 0, 1).astype(np.float32)
    chosen = choose_thresholds(scores, fraud, Appetite(alert_share=0.01, decline_precision=0.95))
    assert (scores >= np.float32(chosen.review)).mean() <= 0.01
    declined = scores >= np.float32(chosen.decline)
    assert fraud[declined].mean() >= 0.95
    assert declined.sum() >= 20
    assert np.float32(chosen.review) == chosen.review <= chosen.decline


def test_when_no_score_is_precise_enough_nothing_is_declined() -> None:
    random = np.random.default_rng(5)
    fraud, scores = random.random(5000) < 0.02, random.random(5000).astype(np.float32)
    assert choose_thresholds(scores, fraud).decline == NEVER
    assert choose_thresholds(np.full(100, 0.5, np.float32), fraud[:100]).review == NEVER


def test_a_model_that_says_what_it_means_is_calibrated() -> None:
    random = np.random.default_rng(5)
    scores = random.beta(0.5, 8, 50_000)
    fraud = random.random(50_000) < scores
    bins = calibration_bins(scores, fraud)
    assert sum(found.rows for found in bins) == 50_000
    assert calibration_error(bins) < 0.005
    assert calibration_error(calibration_bins(np.sqrt(scores), fraud)) > 0.05


def test_recall_by_amount_counts_every_fraud_once() -> None:
    amounts = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, np.nan, 10])
    fraud = np.array([True] * 9 + [False])
    scores = amounts / 10
    scores[8] = 0.9
    bins = recall_by_amount(amounts, scores, fraud, review=0.45, decline=0.75, bins=4)
    assert sum(found.frauds for found in bins) == 8
    assert bins[0].reviewed == 0
    assert bins[-1].reviewed == 1
    assert sum(found.declined * found.frauds for found in bins) == pytest.approx(1)
    assert recall_by_amount(amounts, scores, ~fraud & False, review=0, decline=0) == ()

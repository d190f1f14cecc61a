"""Evaluation with intervals, the gate, and the pictures."""

import dataclasses
import io

import numpy as np
import polars as pl
import pytest

from fraud_assets.modelling import plots
from fraud_assets.modelling.evaluation import Evaluation, evaluate, rows_to_judge
from fraud_assets.modelling.gate import GateSettings, gate
from fraud_assets.modelling.intervals import interval
from fraud_assets.modelling.thresholds import choose_thresholds
from fraud_assets.modelling.training import TrainedModel
from fraud_assets.modelling.training_set import TrainingSet, feature_matrix
from fraud_core.errors import TrainingError
from fraud_core.release import Thresholds
from tests.assets.modelling.samples import FEATURES, ROLES


@pytest.fixture(scope="module")
def rows(training_set: TrainingSet) -> pl.DataFrame:
    return rows_to_judge(training_set)


@pytest.fixture(scope="module")
def scores(rows: pl.DataFrame, model: TrainedModel) -> np.ndarray:
    return model.predict(feature_matrix(rows, FEATURES))


@pytest.fixture(scope="module")
def thresholds(training_set: TrainingSet, model: TrainedModel) -> Thresholds:
    return choose_thresholds(
        model.predict(training_set.matrix("validation")), training_set.labels("validation")
    )


@pytest.fixture(scope="module")
def evaluation(rows: pl.DataFrame, scores: np.ndarray, thresholds: Thresholds) -> Evaluation:
    return evaluate(rows, scores, thresholds, ROLES)


def test_metrics_lie_within_their_intervals(evaluation: Evaluation, rows: pl.DataFrame) -> None:
    for name in ("auc", "average_precision", "card_precision_100"):
        measure = evaluation.metrics[name]
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low <= measure.value <= measure.high
        assert measure.high - measure.low > 0.001
    assert evaluation.value("auc") > 0.85
    assert evaluation.value("test_frauds") == rows["is_fraud"].sum()
    assert evaluation.value("review_recall") >= evaluation.value("decline_recall")
    assert sum(found.frauds for found in evaluation.by_amount) == rows["is_fraud"].sum()


def test_rows_without_an_entity_count_but_are_no_cards(
    rows: pl.DataFrame, scores: np.ndarray, thresholds: Thresholds, evaluation: Evaluation
) -> None:
    anonymous = rows.with_columns(
        card_id=pl.when(pl.col("payment_id").str.ends_with("7")).then(None).otherwise(pl.col("card_id"))
    )
    found = evaluate(anonymous, scores, thresholds, ROLES)
    assert found.value("auc") == evaluation.value("auc")
    assert found.value("card_precision_100") <= evaluation.value("card_precision_100")
    nobody = evaluate(rows.with_columns(card_id=pl.lit(None, pl.String)), scores, thresholds, ROLES)
    assert "card_precision_100" not in nobody.metrics
    assert nobody.metrics["auc"].low is not None


def test_scores_that_do_not_fit_the_rows_are_refused(
    rows: pl.DataFrame, scores: np.ndarray, thresholds: Thresholds
) -> None:
    with pytest.raises(TrainingError, match="one finite score per row"):
        evaluate(rows, scores[1:], thresholds, ROLES)
    with pytest.raises(TrainingError, match="1 of them not finite"):
        evaluate(rows, np.where(np.arange(len(scores)) == 3, np.nan, scores), thresholds, ROLES)


def test_the_first_model_passes_by_its_floors_alone(evaluation: Evaluation) -> None:
    assert gate(evaluation, None).passed
    refused = gate(evaluation, None, GateSettings(least_auc=0.999, least_frauds=100_000))
    assert not refused.passed
    assert "at least 100000 are needed" in refused.reasons[0]
    assert "at least 0.999 is needed" in refused.reasons[1]


def test_a_model_that_guesses_is_refused(rows: pl.DataFrame, thresholds: Thresholds) -> None:
    guesses = np.random.default_rng(1).random(len(rows)).astype(np.float32)
    assert not gate(evaluate(rows, guesses, thresholds, ROLES), None).passed


def test_a_candidate_must_not_be_clearly_worse_than_the_champion(
    rows: pl.DataFrame, scores: np.ndarray, thresholds: Thresholds, evaluation: Evaluation
) -> None:
    random = np.random.default_rng(1)
    noisy = np.clip(scores * random.uniform(0.98, 1.02, len(scores)), 0, 1).astype(np.float32)
    blurred = np.clip(scores + random.normal(0, 0.2, len(scores)), 0, 1).astype(np.float32)
    as_good = evaluate(rows, noisy, thresholds, ROLES)
    worse = evaluate(rows, blurred, thresholds, ROLES)
    assert gate(as_good, evaluation).passed
    verdict = gate(worse, evaluation)
    assert not verdict.passed
    assert "is worse than the champion's" in verdict.reasons[0]
    assert any("is better than" in reason for reason in gate(evaluation, worse).reasons)


def test_models_judged_on_other_rows_are_not_compared(
    rows: pl.DataFrame, scores: np.ndarray, thresholds: Thresholds, evaluation: Evaluation
) -> None:
    with pytest.raises(TrainingError, match="same test rows"):
        gate(evaluation, evaluate(rows[1:], scores[1:], thresholds, ROLES))


def test_without_replicates_only_not_worse_at_all_passes(evaluation: Evaluation) -> None:
    measured = dataclasses.replace(evaluation, replicates={})
    assert gate(measured, measured).passed


def test_an_interval_ignores_replicates_without_frauds() -> None:
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert interval(np.array([np.nan])) is None


def test_pictures_are_readable_pngs(
    rows: pl.DataFrame,
    scores: np.ndarray,
    thresholds: Thresholds,
    evaluation: Evaluation,
    model: TrainedModel,
) -> None:
    from matplotlib.image import imread

    fraud = rows["is_fraud"].to_numpy()
    for png in (
        plots.precision_recall(scores, fraud, thresholds),
        plots.calibration(evaluation.calibration),
        plots.feature_importance(model.gain),
        plots.score_distribution(scores, fraud, thresholds),
        plots.score_distribution(scores, fraud, Thresholds(review=2, decline=2)),
        plots.feature_importance({}),
        plots.calibration(()),
    ):
        height, width, _ = imread(io.BytesIO(png)).shape
        assert width == 896  # the width of the dialog in which the Dagster UI shows them
        assert height >= 330
        assert len(png) < 200_000

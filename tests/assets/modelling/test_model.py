"""Training, its exports and the proofs that all forms of a model score alike."""

import dataclasses

import numpy as np
import onnx
import pytest
import xgboost

from fraud_assets.modelling.onnx_export import golden_rows, onnx_scores, prove_equal, to_onnx
from fraud_assets.modelling.training import Parameters, TrainedModel, choose_device, train
from fraud_assets.modelling.training_set import TrainingSet
from fraud_assets.modelling.trees import prove_additive, to_trees
from fraud_core.errors import BundleError, TrainingError
from fraud_core.release.contributions import Trees
from tests.assets.modelling.samples import FEATURES


@pytest.fixture(scope="session")
def exported(model: TrainedModel) -> bytes:
    return to_onnx(model)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    training_set: TrainingSet, model: TrainedModel, parameters: Parameters
) -> None:
    vectors = training_set.matrix("test")
    again = train(training_set, parameters)
    np.testing.assert_array_equal(again.predict(vectors), model.predict(vectors))
    other = train(training_set, dataclasses.replace(parameters, seed=8))
    assert not np.array_equal(other.predict(vectors), model.predict(vectors))


def test_the_model_ends_at_its_best_round(model: TrainedModel) -> None:
    assert model.trees == int(np.argmin(model.curve)) + 1
    assert model.trees < len(model.curve)


def test_gain_names_the_features_that_fraud_depends_on(model: TrainedModel) -> None:
    assert sum(model.gain.values()) == pytest.approx(1)
    assert set(list(model.gain)[:2]) == {"amount_z", "speed"}


def test_infinities_in_training_rows_are_learned_as_the_largest_values(
    training_set: TrainingSet, parameters: Parameters
) -> None:
    import polars as pl

    frame = training_set.frame.with_columns(
        pl.when(pl.col("amount_z") > 20)
        .then(float("inf"))
        .otherwise(pl.col("amount_z"))
        .cast(pl.Float32)
        .alias("amount_z")
    )
    model = train(dataclasses.replace(training_set, frame=frame), parameters)
    vectors = np.tile(np.float32([np.inf, 1, 1, 1]), (3, 1))
    vectors[1:, 0] = 1e30, 1.0
    infinite, largest, small = model.predict(vectors)
    assert infinite == largest > small


def test_onnx_is_what_serving_expects(exported: bytes) -> None:
    graph = onnx.load_from_string(exported).graph
    assert [i.name for i in graph.input] == ["features"]
    assert [d.dim_value or None for d in graph.input[0].type.tensor_type.shape.dim] == [None, len(FEATURES)]
    assert "probabilities" in [o.name for o in graph.output]
    assert not any(node.op_type == "ZipMap" for node in graph.node)


def test_every_form_of_the_model_scores_alike(
    model: TrainedModel, exported: bytes, training_set: TrainingSet
) -> None:
    vectors = training_set.matrix("test")
    golden = golden_rows(model, exported, vectors)
    assert len(golden.vectors) >= 32
    assert onnx_scores(exported, vectors).max() in golden.scores
    assert np.isinf(golden.vectors).any()
    assert np.isnan(golden.vectors).all(axis=1).any()
    assert prove_equal(model, exported, golden, vectors) <= 5e-6
    again = xgboost.Booster(model_file=bytearray(model.booster.save_raw("ubj")))
    np.testing.assert_array_equal(again.inplace_predict(vectors), model.predict(vectors))


def test_an_onnx_model_with_trees_after_the_best_round_is_refused(
    training_set: TrainingSet, model: TrainedModel, exported: bytes, parameters: Parameters
) -> None:
    vectors = training_set.matrix("test")
    fewer = dataclasses.replace(model, booster=model.booster[: model.trees // 2])
    with pytest.raises(BundleError, match="The bundle is refused"):
        prove_equal(fewer, exported, golden_rows(model, exported, vectors), vectors)


def test_contributions_are_xgboosts_approximate_ones(model: TrainedModel, training_set: TrainingSet) -> None:
    vectors = training_set.matrix("test")
    trees = Trees.from_npz(to_trees(model).to_npz())
    expected = model.booster.predict(xgboost.DMatrix(vectors), pred_contribs=True, approx_contribs=True)
    np.testing.assert_allclose(trees.contributions(vectors), expected, atol=2e-5)


def test_contributions_sum_to_the_margin_also_of_hostile_rows(
    model: TrainedModel, training_set: TrainingSet
) -> None:
    vectors = training_set.matrix("test").copy()
    vectors[::3, 0], vectors[1::3, 1], vectors[2::3, 2] = np.inf, -np.inf, np.nan
    trees = to_trees(model)
    assert prove_additive(model, trees, vectors) < 1e-4
    with pytest.raises(BundleError, match="sum to the margin"):
        prove_additive(model, dataclasses.replace(trees, bias=trees.bias + 0.01), vectors)


def test_a_gpu_that_is_not_there_is_an_error_only_when_demanded() -> None:
    if xgboost.build_info().get("USE_CUDA"):
        pytest.skip("this XGBoost can use a GPU")
    device, why = choose_device("auto")
    assert (device, why) == ("cpu", "this XGBoost was built without CUDA")
    with pytest.raises(TrainingError, match="SPEARHEAD_DEVICE=cuda asks for a GPU"):
        choose_device("cuda")


def test_a_gpu_that_fails_in_the_middle_is_replaced_only_under_auto(
    training_set: TrainingSet, parameters: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = xgboost.train

    def out_of_memory(how: dict[str, object], *rest: object, **options: object) -> xgboost.Booster:
        if how["device"] == "cuda":
            raise xgboost.core.XGBoostError("out of memory\nStack trace")
        return original(how, *rest, **options)

    monkeypatch.setattr("fraud_assets.modelling.training._cuda_problem", lambda: None)
    monkeypatch.setattr(xgboost, "train", out_of_memory)
    model = train(training_set, dataclasses.replace(parameters, device="auto"))
    assert (model.device, model.device_note) == (
        "cpu",
        "the GPU failed (out of memory), so the CPU trained instead",
    )
    with pytest.raises(TrainingError, match=r"on the GPU failed: out of memory\. Free"):
        train(training_set, dataclasses.replace(parameters, device="cuda"))

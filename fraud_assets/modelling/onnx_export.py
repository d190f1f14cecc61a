"""From a trained booster to ONNX, and the proof that both give the same scores.

Invariant: no ONNX model leaves here that differs from its booster by more than 5e-6 on golden, random, missing and
infinite vectors. Converters fail silently, so nothing but this comparison is trusted.
"""

import json
import warnings

import numpy as np
import numpy.typing as npt

from fraud_assets.modelling.training import TrainedModel
from fraud_core.errors import BundleError, TrainingError
from fraud_core.release import Golden

Floats = npt.NDArray[np.float32]

INPUT = "features"
PROBABILITIES = "probabilities"
# Both sum float32 leaves, in different orders: some 400 trees differ by about 1e-6. A wrong branch differs by far more.
TOLERANCE = 5e-6


def to_onnx(model: TrainedModel) -> bytes:
    """ONNX of the model: input `features` float32 [None, n], output `probabilities` float32 [None, 2].

    Raises TrainingError when the converter refuses the model.
    """
    import xgboost

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter and its protobuf code are full of deprecations
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        # A copy: names must go (the converter knows f0, f1, … only), and the model given stays as it is.
        booster = xgboost.Booster(model_file=bytearray(model.booster.save_raw("ubj")))
        booster.feature_names = None
        try:
            # The default opset is the one the converter tests; the tree is the booster's, already cut to its best round.
            converted = onnxmltools.convert_xgboost(
                booster, initial_types=[(INPUT, FloatTensorType([None, len(model.feature_names)]))]
            )
        except Exception as error:  # the converter raises whatever it met; every kind means that it cannot
            raise TrainingError(
                f"The model cannot be converted to ONNX: {error}. Convertible are gbtree models with missing = NaN and "
                "one tree per round; train such a one."
            ) from error
    outputs = [output.name for output in converted.graph.output]
    if PROBABILITIES not in outputs or any(node.op_type == "ZipMap" for node in converted.graph.node):
        raise TrainingError(
            f"The ONNX model should have the output {PROBABILITIES} without ZipMap, and has {', '.join(outputs)}. "
            "Use onnxmltools 1.16 or later."
        )
    return bytes(converted.SerializeToString())


def onnx_scores(onnx: bytes, matrix: Floats) -> Floats:
    """Fraud probabilities float32 [rows] by ONNX Runtime on one thread, as serving computes them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([PROBABILITIES], {INPUT: matrix})[0][:, 1], dtype=np.float32)


def golden_rows(model: TrainedModel, onnx: bytes, matrix: Floats, count: int = 32, seed: int = 7) -> Golden:
    """Real vectors spread over the whole range of scores, then vectors all missing, infinite and zero.

    matrix: float32 [rows, features] to choose from.
    """
    scores = model.predict(matrix)
    order = np.argsort(scores, kind="stable")
    # Half evenly over the ranks, half over the highest scores, where decisions are made.
    spread = order[np.unique(np.linspace(0, len(order) - 1, count // 2).astype(int))]
    highest = order[-max(count // 2, 1) :]
    chosen = np.unique(np.r_[spread, highest])
    width = matrix.shape[1]
    edges = np.array([[np.nan], [np.inf], [-np.inf], [0.0]], dtype=np.float32).repeat(width, axis=1)
    mixed = matrix[chosen[-1:]].copy()
    mixed[:, np.random.default_rng(seed).random(width) < 0.5] = np.nan
    vectors = np.ascontiguousarray(np.vstack([matrix[chosen], edges, mixed]), dtype=np.float32)
    return Golden(vectors, onnx_scores(onnx, vectors))


def prove_equal(model: TrainedModel, onnx: bytes, golden: Golden, matrix: Floats, seed: int = 7) -> float:
    """Largest |ONNX - booster| on golden rows, real rows, rows on the trees' own thresholds and hostile rows.

    Raises BundleError when it is above TOLERANCE: the bundle must not be released.
    """
    random = np.random.default_rng(seed)
    rows = matrix[random.choice(len(matrix), min(len(matrix), 5000), replace=False)]
    hostile = rows.copy()
    hostile[random.random(rows.shape) < 0.2] = np.nan
    hostile[random.random(rows.shape) < 0.05] = np.inf
    hostile[random.random(rows.shape) < 0.05] = -np.inf
    vectors = np.vstack([golden.vectors, rows, hostile, _on_thresholds(model, rows, random)])
    expected, found = model.predict(vectors).astype(np.float64), onnx_scores(onnx, vectors).astype(np.float64)
    off = np.abs(expected - found)
    worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
    if not off[worst] <= TOLERANCE:
        raise BundleError(
            f"ONNX and XGBoost should agree to {TOLERANCE:g}, and give {found[worst]:.9g} and {expected[worst]:.9g} for "
            "one of the proof's rows. The bundle is refused: compare the versions of xgboost and onnxmltools with those pinned."
        )
    return float(off[worst])


def _on_thresholds(model: TrainedModel, rows: Floats, random: np.random.Generator) -> Floats:
    """Rows whose values lie exactly on split thresholds, where < and <= part ways."""
    result = rows[: min(len(rows), 1000)].copy()
    trees = json.loads(bytes(model.booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    for feature in range(rows.shape[1]):
        cuts = np.array(
            [
                condition
                for tree in trees
                for condition, split, left in zip(
                    tree["split_conditions"], tree["split_indices"], tree["left_children"], strict=True
                )
                if left != -1 and split == feature
            ],
            dtype=np.float32,
        )
        if len(cuts):
            result[:, feature] = random.choice(cuts, len(result))
    return result

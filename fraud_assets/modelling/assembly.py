"""From a trained and judged model to a release bundle: what was judged is what is released, without a refit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from fraud_assets.modelling.evaluation import Evaluation, EvaluationSettings, evaluate, rows_to_judge
from fraud_assets.modelling.onnx_export import golden_rows, onnx_scores, prove_equal, to_onnx
from fraud_assets.modelling.thresholds import Appetite, choose_thresholds
from fraud_assets.modelling.training import TrainedModel
from fraud_assets.modelling.training_set import Roles, TrainingSet, feature_matrix
from fraud_assets.modelling.trees import prove_additive, to_trees
from fraud_core.contracts import Contract, Contracts
from fraud_core.features import FeatureSet
from fraud_core.release import (
    GOLDEN,
    MODEL_ONNX,
    MODEL_UBJ,
    TREES,
    Bundle,
    Manifest,
    Thresholds,
    TrainingRecord,
    load_bundle,
    read_aliases,
    write_bundle,
)

# The entity that card precision counts is the payer's instrument, or what comes nearest to it.
_PAYERS = ("card", "customer", "account")


def roles_of(contract: Contract) -> Roles:
    """Which columns play which role in training, by the contract."""
    payer = next((name for name in _PAYERS if name in contract.entities), next(iter(contract.entities)))
    return Roles(
        event_id=contract.event_id,
        event_time=contract.event_time,
        entity=contract.entities[payer],
        amount=contract.amount,
    )


@dataclass(frozen=True)
class Judgement:
    """A candidate's thresholds and evaluation, and the champion's evaluation on the same rows where there is one."""

    thresholds: Thresholds
    candidate: Evaluation
    champion: Evaluation | None
    champion_version: str | None
    test_scores: np.ndarray
    test_frauds: np.ndarray


def judge_candidate(
    model: TrainedModel,
    training_set: TrainingSet,
    bundles: Path,
    *,
    feature_hashes: Mapping[str, str],
    appetite: Appetite | None = None,
    settings: EvaluationSettings | None = None,
) -> Judgement:
    """Choose thresholds on the validation split, evaluate on the test split, and the champion on the same rows.

    A champion with a feature that is no longer computed the same way cannot be compared and is left out.
    """
    thresholds = choose_thresholds(
        model.predict(training_set.matrix("validation")), training_set.labels("validation"), appetite
    )
    rows = rows_to_judge(training_set, settings)
    scores = model.predict(feature_matrix(rows, training_set.feature_names))
    candidate = evaluate(rows, scores, thresholds, training_set.roles, settings)
    champion_version = read_aliases(bundles).champion
    champion = None
    if champion_version:
        bundle = load_bundle(bundles / champion_version)
        manifest = bundle.manifest
        if all(feature_hashes.get(name) == manifest.feature_hashes[name] for name in manifest.features):
            theirs = onnx_scores(bundle.read(MODEL_ONNX), feature_matrix(rows, manifest.features))
            champion = evaluate(rows, theirs, manifest.thresholds, training_set.roles, settings)
    return Judgement(
        thresholds, candidate, champion, champion_version, scores, rows[training_set.roles.label].to_numpy()
    )


def assemble_bundle(
    bundles: Path,
    model: TrainedModel,
    training_set: TrainingSet,
    judgement: Judgement,
    *,
    features: FeatureSet,
    contracts: Contracts,
    git_commit: str = "",
) -> Bundle:
    """Export, prove and write the release bundle.

    Raises BundleError when the ONNX model or the contributions differ from the booster.
    """
    onnx = to_onnx(model)
    matrix = training_set.matrix("test")
    golden = golden_rows(model, onnx, matrix)
    prove_equal(model, onnx, golden, matrix)
    trees = to_trees(model)
    prove_additive(model, trees, golden.vectors)
    learnt = [training_set.counts[split] for split in ("train", "validation")]
    windows = training_set.windows
    manifest = Manifest(
        created_at=datetime.now(UTC),
        features=model.feature_names,
        feature_hashes={name: features.hashes[name] for name in model.feature_names},
        feature_set_hash=features.hash,
        contract_versions={
            contract.name: contract.version for contract in (contracts.transactions, contracts.labels)
        },
        thresholds=judgement.thresholds,
        metrics=judgement.candidate.metrics,
        training=TrainingRecord(
            snapshot=training_set.snapshot,
            trained_at=training_set.trained_at,
            **{"from": windows.train_from, "to": windows.train_to},
            rows=sum(rows for rows, _ in learnt),
            frauds=sum(frauds for _, frauds in learnt),
            parameters=model.parameters.for_xgboost(model.device) | {"trees": model.trees},
        ),
        git_commit=git_commit,
    )
    files = {
        MODEL_UBJ: bytes(model.booster.save_raw("ubj")),
        MODEL_ONNX: onnx,
        GOLDEN: golden.to_json(),
        TREES: trees.to_npz(),
    }
    return write_bundle(bundles, manifest, files)

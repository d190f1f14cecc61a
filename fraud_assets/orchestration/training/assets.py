"""From features to a released model: training set, model, evaluation, release."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from fraud_assets.features import FEATURES
from fraud_assets.lake import read_labels
from fraud_assets.modelling import plots
from fraud_assets.modelling.assembly import Judgement, assemble_bundle, judge_candidate, roles_of
from fraud_assets.modelling.gate import gate
from fraud_assets.modelling.training import Parameters, TrainedModel, train
from fraud_assets.modelling.training_set import SPLITS, TrainingSet, first_decisions, select_training_rows
from fraud_assets.modelling.workspace import (
    load_model,
    load_training_set,
    save_model,
    save_training_set,
    training_set_table,
)
from fraud_assets.orchestration.handles import Handle
from fraud_assets.orchestration.ownership import OWNERS
from fraud_assets.orchestration.pictures import page, picture, table
from fraud_assets.orchestration.resources import Platform
from fraud_core.errors import TrainingError
from fraud_core.release import PathAliasStore, aliases
from fraud_core.revision import git_commit

WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8))
ACTOR = "graph"


class TrainingSetConfig(dg.Config):
    """How the rows are chosen; what is left at its default is chosen from the data's range."""

    trained_at: str = ""
    """Training time T, ISO 8601; only what was known then is used. Empty: now, or the end of a history."""
    train_days: int = 0
    """Days of the training window. 0: all that the other windows leave."""
    delay_days: int = -1
    """Days between training and test. -1: the labels' maturity."""
    test_days: int = 0
    """Days of the test window. 0: 15 % of the range."""


@dg.asset(
    deps=[FEATURES, "labels", "decisions"],
    group_name="training",
    kinds={"polars", "deltalake"},
    owners=OWNERS,
    code_version="2",
    freshness_policy=WEEKLY,
    io_manager_key="handles",
    description=(
        "One row per eligible transaction: its features, the latest label known at training time (absent means genuine) and "
        "the split it belongs to. An immutable snapshot, named by its content."
    ),
)
def training_set(context: dg.AssetExecutionContext, config: TrainingSetConfig, platform: Platform) -> Handle:
    """Select, split and keep the rows."""
    lake, contracts, features = platform.lake, platform.contracts, platform.features
    roles = roles_of(contracts.transactions)
    table = lake.scan(FEATURES).filter(pl.col("feature_set_hash") == features.hash)
    if lake.exists("decisions"):
        table = table.join(
            first_decisions(lake.scan("decisions"), contracts.decisions.event_id),
            left_on=roles.event_id,
            right_on=contracts.decisions.event_id,
            how="left",
        )
    if contracts.labels.maturity is None:
        raise TrainingError(
            f"{contracts.labels.path}: training needs the property maturity, such as 7d; add it"
        )
    selected = select_training_rows(
        table,
        read_labels(lake, contracts),
        _training_time(config, table),
        contracts.labels.maturity,
        roles=roles,
        feature_names=features.names,
        train=timedelta(days=config.train_days) if config.train_days else None,
        delay=timedelta(days=config.delay_days) if config.delay_days >= 0 else None,
        test=timedelta(days=config.test_days) if config.test_days else None,
    )
    saved = save_training_set(lake, selected)
    context.add_output_metadata(
        {
            "dagster/row_count": len(selected.frame),
            "dagster/uri": lake.uri_of(training_set_table(selected.snapshot)),
            "snapshot": selected.snapshot,
            "trained_at": dg.MetadataValue.timestamp(selected.trained_at),
            "windows": dg.MetadataValue.json(selected.windows.as_text()),
            "left_out": dg.MetadataValue.json(selected.left_out),
            **{
                f"{split}_{what}": number
                for split in SPLITS
                for what, number in zip(("rows", "frauds"), selected.counts[split], strict=True)
            },
        }
    )
    return saved


def _training_time(config: TrainingSetConfig, table: pl.LazyFrame) -> datetime:
    """T: as configured; else now, or for a history that ended the time at which its last event was known."""
    if config.trained_at:
        return _instant(config.trained_at)
    last = table.select(pl.col("known_at").max()).collect().item()
    if last is None:
        raise TrainingError(
            "The feature table holds no row of the present feature set; materialize features first."
        )
    return min(datetime.now(UTC), last + timedelta(seconds=1))


def _instant(text: str) -> datetime:
    """A time in ISO 8601 as UTC, which it is without an offset."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise TrainingError(
            f"The configured trained_at was expected to be a time such as 2026-09-30 or 2026-09-30T12:00:00+02:00; found {text!r}. "
            "Correct it in the run's configuration, or leave it empty for now."
        ) from None
    return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)


@dg.asset(
    group_name="training",
    kinds={"xgboost"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=WEEKLY,
    io_manager_key="handles",
    description="One XGBoost model per training set, trained on its train split and stopped by its validation split.",
)
def model(context: dg.AssetExecutionContext, platform: Platform, training_set: Handle) -> Handle:
    """Train, on a GPU where there is one."""
    rows = load_training_set(platform.lake, training_set)
    trained = train(rows, Parameters(device=platform.settings.device, seed=platform.settings.seed))
    save_model(platform.candidate(rows.snapshot), trained)
    context.log.info(
        "%d trees on %s in %.1f s: %s", trained.trees, trained.device, trained.seconds, trained.device_note
    )
    context.add_output_metadata(
        {
            "snapshot": rows.snapshot,
            "trees": trained.trees,
            "device": trained.device,
            "device_note": trained.device_note,
            "seconds": trained.seconds,
            "feature_importance": page(picture("feature importance", plots.feature_importance(trained.gain))),
        }
    )
    return {"snapshot": rows.snapshot, "training_set": training_set}


@dg.asset(
    group_name="training",
    kinds={"xgboost"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=WEEKLY,
    io_manager_key="handles",
    check_specs=[
        dg.AssetCheckSpec(
            "gate",
            asset="evaluation",
            blocking=True,
            description="The model clears the floors and is not worse than the champion on the same rows.",
        )
    ],
    description=(
        "One evaluation per model: metrics with intervals on the test split, thresholds from the validation split, and the "
        "champion judged on the same rows."
    ),
)
def evaluation(platform: Platform, model: Handle) -> Any:
    """Judge the model; the gate decides whether a release may follow."""
    rows, trained = _trained(platform, model)
    judgement = judge_candidate(trained, rows, platform.bundles, feature_hashes=platform.features.hashes)
    verdict = gate(judgement.candidate, judgement.champion)
    metrics = {name: measure.model_dump() for name, measure in judgement.candidate.metrics.items()}
    yield dg.Output(
        {**model, "passed": verdict.passed, "reasons": list(verdict.reasons), "metrics": metrics},
        metadata={
            "passed": verdict.passed,
            "reasons": _list(verdict.reasons),
            "report": _report(judgement),
            "snapshot": rows.snapshot,
            "champion": judgement.champion_version or "none",
            **{name: measure["value"] for name, measure in metrics.items()},
        },
    )
    yield dg.AssetCheckResult(
        check_name="gate",
        passed=verdict.passed,
        description="; ".join(verdict.reasons) + ".",
        metadata={"reasons": _list(verdict.reasons)},
    )


def _trained(platform: Platform, handle: Handle) -> tuple[TrainingSet, TrainedModel]:
    rows = load_training_set(platform.lake, handle["training_set"])
    return rows, load_model(platform.candidate(rows.snapshot))


def _list(reasons: Sequence[str]) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md("\n".join(f"- {reason}" for reason in reasons))


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) and value > 1 else f"{value:.4f}"


def _report(judgement: Judgement) -> dg.MarkdownMetadataValue:
    """Everything that a person looks at before approving a model, as one value."""
    scores, frauds, limits = judgement.test_scores, judgement.test_frauds, judgement.thresholds
    return page(
        table(
            ("metric", "value", "95 % interval from", "to"),
            [
                (name.replace("_", " "), *map(_shown, (measure.value, measure.low, measure.high)))
                for name, measure in judgement.candidate.metrics.items()
            ],
        ),
        picture("precision and recall", plots.precision_recall(scores, frauds, limits)),
        picture("calibration", plots.calibration(judgement.candidate.calibration)),
        picture("scores", plots.score_distribution(scores, frauds, limits)),
    )


@dg.asset(
    group_name="release",
    kinds={"onnx"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=WEEKLY,
    io_manager_key="handles",
    description=(
        "One release bundle per model that passed the gate: the model as XGBoost and as ONNX proved equal, golden rows and the "
        "manifest. It becomes the challenger; the first one waits for `spearhead release bootstrap`."
    ),
)
def release(context: dg.AssetExecutionContext, platform: Platform, evaluation: Handle) -> Handle:
    """Write the bundle of the judged model, and make it the challenger."""
    rows, trained = _trained(platform, evaluation)
    # Judged again, because another model may have become the champion since the evaluation.
    judgement = judge_candidate(trained, rows, platform.bundles, feature_hashes=platform.features.hashes)
    verdict = gate(judgement.candidate, judgement.champion)
    if not verdict.passed:
        raise TrainingError("The gate refused this model: " + "; ".join(verdict.reasons))
    bundle = assemble_bundle(
        platform.bundles,
        trained,
        rows,
        judgement,
        features=platform.features,
        contracts=platform.contracts,
        git_commit=git_commit(),
    )
    store = PathAliasStore(platform.bundles)
    if store.read().champion:
        live = aliases.challenge(
            store,
            platform.bundles,
            bundle.version,
            actor=ACTOR,
            reason=f"passed the gate in run {context.run.run_id}",
        )
    else:
        live = store.read()
        context.log.info("no model is live yet: spearhead release bootstrap %s", bundle.version)
    context.add_output_metadata(
        {
            "model_version": bundle.version,
            "dagster/uri": str(bundle.path),
            "champion": live.champion or "none",
            "challenger": live.challenger or "none",
            "manifest": dg.MetadataValue.json(bundle.manifest.model_dump(mode="json", by_alias=True)),
        }
    )
    return {"model_version": bundle.version, "snapshot": rows.snapshot}

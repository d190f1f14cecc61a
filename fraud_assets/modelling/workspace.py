"""What training keeps between its steps: the immutable training set in the lake, the trained model beside the bundles.

A training set's name follows from its content, so writing the same one twice changes nothing. Models are kept as
XGBoost's own UBJSON; nothing is pickled.
"""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from fraud_assets.lake import Lake
from fraud_assets.modelling.training import Parameters, TrainedModel
from fraud_assets.modelling.training_set import SPLITS, Roles, TrainingSet
from fraud_assets.modelling.windows import Windows
from fraud_core.errors import TrainingError

MODEL = "model.ubj"
TRAINED = "model.json"


def training_set_table(snapshot: str) -> str:
    """Name of a snapshot's table in the lake."""
    return f"training_sets/{snapshot}"


def save_training_set(lake: Lake, training_set: TrainingSet) -> dict[str, Any]:
    """Write the rows to a table of their own and return what else must be known, as JSON values."""
    frame = training_set.frame.with_columns(pl.col("split").cast(pl.String))
    name = training_set_table(training_set.snapshot)
    table = lake.create(name, dict(frame.schema))
    if lake.committed(table, name) == 0:
        lake.append(table, frame, {name: 1})
    return {
        "snapshot": training_set.snapshot,
        "feature_names": list(training_set.feature_names),
        "roles": asdict(training_set.roles),
        "windows": training_set.windows.as_text(),
        "trained_at": training_set.trained_at.isoformat(),
        "maturity_s": training_set.maturity.total_seconds(),
        "left_out": training_set.left_out,
    }


def load_training_set(lake: Lake, saved: dict[str, Any]) -> TrainingSet:
    """Read a training set back. Raises TrainingError when its rows are not those that were saved."""
    roles = Roles(**saved["roles"])
    frame = (
        lake.scan(training_set_table(saved["snapshot"]))
        .with_columns(pl.col("split").cast(pl.Enum(SPLITS)))
        .sort(roles.event_time, roles.event_id)
        .collect()
    )
    training_set = TrainingSet(
        frame=frame,
        feature_names=tuple(saved["feature_names"]),
        roles=roles,
        windows=Windows(**{name: datetime.fromisoformat(at) for name, at in saved["windows"].items()}),
        trained_at=datetime.fromisoformat(saved["trained_at"]),
        maturity=timedelta(seconds=saved["maturity_s"]),
        left_out=saved["left_out"],
    )
    if training_set.snapshot != saved["snapshot"]:
        raise TrainingError(
            f"The training set {saved['snapshot']} was changed after it was saved (its content is now "
            f"{training_set.snapshot}). Materialize training_set again and train on that."
        )
    return training_set


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write the booster and what is known of its training under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(bytes(model.booster.save_raw("ubj")))
    known = {
        "feature_names": list(model.feature_names),
        "device": model.device,
        "device_note": model.device_note,
        "seconds": model.seconds,
        "parameters": asdict(model.parameters),
        "curve": list(model.curve),
    }
    (folder / TRAINED).write_text(json.dumps(known, indent=2), encoding="utf-8")


def load_model(folder: Path) -> TrainedModel:
    """Read a model back. Raises TrainingError when it is not there or cannot be read."""
    import xgboost

    try:
        known = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
        booster = xgboost.Booster(model_file=bytearray((folder / MODEL).read_bytes()))
    except (OSError, ValueError, xgboost.core.XGBoostError) as error:
        raise TrainingError(
            f"A trained model was expected in {folder}; it cannot be read: {error}. Materialize model again."
        ) from error
    return TrainedModel(
        booster=booster,
        feature_names=tuple(known["feature_names"]),
        device=known["device"],
        device_note=known["device_note"],
        seconds=known["seconds"],
        parameters=Parameters(**known["parameters"]),
        curve=tuple(known["curve"]),
    )

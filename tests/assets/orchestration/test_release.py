"""From features to a release in one run; and a gate that lets nothing bad through."""

from datetime import timedelta

import polars as pl
import pytest

from fraud_assets.lake import open_lake
from fraud_assets.modelling import gate as gating
from fraud_assets.modelling.training import Parameters
from fraud_core.release import PathAliasStore, bootstrap, list_bundles, load_bundle, read_aliases
from fraud_core.settings import Settings
from tests.assets.conftest import HISTORY_DAYS
from tests.assets.history import END
from tests.assets.orchestration.conftest import Run, reasons

pytestmark = [pytest.mark.valkey, pytest.mark.early]
DAYS = ((END - timedelta(days=HISTORY_DAYS)).date().isoformat(), END.date().isoformat())


@pytest.fixture(autouse=True)
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rounds are enough for a small world."""
    monkeypatch.setattr(
        "fraud_assets.orchestration.training.assets.Parameters",
        lambda **given: Parameters(**given, rounds=40, stop_after=8, max_bin=256),
    )


def test_one_run_makes_features_a_model_and_a_bundle_and_the_next_a_challenger(
    past_settings: Settings, run: Run
) -> None:
    bundles = past_settings.bundles_path
    first = run(past_settings, "history_release", DAYS)
    assert first.success, reasons(first)
    [version] = list_bundles(bundles)
    manifest = load_bundle(bundles / version).manifest
    assert manifest.training.frauds > 0
    assert read_aliases(bundles).champion is None, "the first model waits for a person"

    lake = open_lake(past_settings)
    snapshot = f"training_sets/{manifest.training.snapshot}"
    before = lake.table(snapshot).version()
    bootstrap(PathAliasStore(bundles), bundles, version, actor="test", reason="first")
    second = run(past_settings, "model_release")
    assert second.success, reasons(second)
    assert lake.table(snapshot).version() == before, "the same content is the same snapshot, written once"
    [challenger] = set(list_bundles(bundles)) - {version}
    assert read_aliases(bundles).champion == version
    assert read_aliases(bundles).challenger == challenger
    evaluation = next(
        event for event in second.get_asset_materialization_events() if event.asset_key.path == ["evaluation"]
    )
    assert evaluation.materialization.metadata["champion"].value == version


def test_a_model_that_the_gate_refuses_is_not_released(
    past_settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gating.GateSettings, "__init__", _impossible)
    result = run(past_settings, "history_release", DAYS)
    assert not result.success
    assert {event.asset_key.path[0] for event in result.get_asset_materialization_events()} == {
        "features", "training_set", "model", "evaluation",
    }  # fmt: skip
    assert [(check.check_name, check.passed) for check in result.get_asset_check_evaluations()] == [
        ("gate", False)
    ]
    assert list_bundles(past_settings.bundles_path) == ()
    assert read_aliases(past_settings.bundles_path).generation == 0

    # Asked for alone, without its check in the way, the release refuses by itself.
    alone = run(past_settings, "model_release", assets=["release"])
    assert not alone.success
    assert "The gate refused this model" in reasons(alone)
    assert list_bundles(past_settings.bundles_path) == ()


def _impossible(self: gating.GateSettings) -> None:
    for name, value in (("least_auc", 1.1), ("least_lift", 5.0), ("least_frauds", 1), ("compared", ())):
        object.__setattr__(self, name, value)


def test_a_training_set_that_was_changed_afterwards_is_refused(past_settings: Settings, run: Run) -> None:
    made = run(past_settings, "history_release", DAYS, assets=["features", "training_set"])
    assert made.success, reasons(made)
    lake = open_lake(past_settings)
    handle = made.output_for_node("training_set")
    table = f"training_sets/{handle['snapshot']}"
    rows = lake.scan(table).collect()
    flipped = rows.with_columns(
        is_fraud=~pl.col("is_fraud") if "is_fraud" in rows.columns else pl.col("split")
    )
    lake.replace(table, flipped, "true")
    result = run(past_settings, "model_release", assets=["model"])
    assert not result.success
    assert "was changed after it was saved" in reasons(result)


def test_a_step_without_its_input_says_what_to_materialize(past_settings: Settings, run: Run) -> None:
    result = run(past_settings, "model_release", assets=["evaluation"])
    assert not result.success
    assert "Materialize model first" in reasons(result)

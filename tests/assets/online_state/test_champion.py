"""A rebuild for another declaration does not take the live model out of service unasked."""

import shutil
from pathlib import Path

import pytest

from fraud_assets.lake import open_lake
from fraud_assets.online_state.rebuild import rebuild_state
from fraud_core.errors import StateError
from fraud_core.log import Log
from fraud_core.release import PathAliasStore, bootstrap
from fraud_core.settings import Settings
from tests.assets.history import declarations, ingested_past
from tests.serving.samples import make_bundle

pytestmark = pytest.mark.valkey


def declared(settings: Settings, folder: Path, hours: str) -> Settings:
    """The same settings with other windows of `account_count`."""
    shutil.copytree(settings.contracts, folder)
    path = folder / "features.yaml"
    text = path.read_text()
    assert text.count("windows: [10m, 1h, 1d, 7d]") == 1
    path.write_text(text.replace("windows: [10m, 1h, 1d, 7d]", f"windows: [10m, {hours}, 1d, 7d]"))
    return settings.changed(contracts=folder)


def test_a_declaration_that_lacks_features_of_the_live_model_is_refused_before_anything_is_rebuilt(
    settings: Settings, log: Log, tmp_path: Path
) -> None:
    lake = open_lake(ingested_past(settings, days=2))
    first = rebuild_state(settings, lake, log, *declarations(settings)).rebuilt.epoch

    changed = declared(settings, tmp_path / "changed", "2h")
    assert declarations(changed)[1].state_hash != declarations(settings)[1].state_hash
    second = rebuild_state(changed, lake, log, *declarations(changed)).rebuilt.epoch  # no model was released
    rebuild_state(settings, lake, log, *declarations(settings))

    bundle = make_bundle(settings.bundles_path)
    bootstrap(
        PathAliasStore(settings.bundles_path), settings.bundles_path, bundle.version, actor="a", reason="b"
    )
    with pytest.raises(StateError, match=r"lacks: account_count_1h;.*otherwise now: none.*--without-model"):
        rebuild_state(changed, lake, log, *declarations(changed))
    same = rebuild_state(settings, lake, log, *declarations(settings))
    assert not same.resumed
    beside = declared(settings, tmp_path / "beside", "1h, 2h")
    added = rebuild_state(beside, lake, log, *declarations(beside))
    forced = rebuild_state(changed, lake, log, *declarations(changed), without_model=True)
    epochs = [first, second, same.rebuilt.epoch, added.rebuilt.epoch, forced.rebuilt.epoch]
    assert epochs == [1, 2, 4, 5, 6]

"""When labels are pushed without being asked."""

from collections.abc import Callable

import dagster as dg

from fraud_assets.lake import open_lake
from fraud_assets.online_state.epochs import record_epoch
from fraud_assets.orchestration.online_state.schedules import frequent_labels
from fraud_core.contracts import load_contracts
from fraud_core.features import load_features
from fraud_core.log import Shard
from fraud_core.settings import Settings


def test_labels_are_pushed_once_there_is_a_state_to_push_to(
    settings: Settings, in_settings: Callable[[Settings], None]
) -> None:
    in_settings(settings)
    contracts = load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    assert isinstance(frequent_labels(), dg.SkipReason)
    record_epoch(open_lake(settings), features, 1, {Shard("transactions", 0, "life"): 0})
    assert isinstance(frequent_labels(), dg.RunRequest)

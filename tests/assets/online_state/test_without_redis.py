"""A Redis that does not answer is told in the same words by everything that asks for the online state."""

from collections.abc import Callable
from typing import Any

import pytest

from fraud_assets.lake import open_lake
from fraud_assets.online_state import push_label_effects, rebuild_state, sweep_abandoned
from fraud_assets.online_state.condition import lost_state
from fraud_assets.online_state.epochs import record_epoch
from fraud_assets.online_state.status import state_status
from fraud_assets.online_state.verify import verify_state
from fraud_core.contracts import load_contracts
from fraud_core.errors import StateError
from fraud_core.features import load_features
from fraud_core.log import Log, Shard
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey

ASKING: dict[str, Callable[..., Any]] = {
    "labels": lambda settings, lake, log, contracts, features: push_label_effects(
        settings, lake, contracts, features
    ),
    "rebuild": rebuild_state,
    "status": lambda settings, lake, log, contracts, features: state_status(settings, lake, log, features),
    "sweep": lambda settings, lake, log, contracts, features: sweep_abandoned(settings, features),
    "verify": verify_state,
    "loss": lambda settings, lake, log, contracts, features: lost_state(settings, lake, features),
}


@pytest.mark.parametrize("who", ASKING)
def test_a_redis_that_does_not_answer_is_a_state_error(settings: Settings, log: Log, who: str) -> None:
    away = settings.changed(redis_url="redis://:secret@127.0.0.1:1/0")
    lake, contracts = open_lake(settings), load_contracts(settings.contracts)
    features = load_features(contracts.features_path, contracts)
    record_epoch(lake, features, 1, {Shard("transactions", 0, "here"): 1})
    with pytest.raises(StateError, match=r"Check Redis at 127\.0\.0\.1:1/0; SPEARHEAD_REDIS_URL") as refused:
        ASKING[who](away, lake, log, contracts, features)
    assert "secret" not in str(refused.value)

"""Keys of the online state that no epoch needs any more."""

from fraud_assets.online_state.plan import PlanStore
from fraud_core.features import FeatureSet, OnlineState, state_client, sweep_epochs
from fraud_core.settings import Settings


def sweep_abandoned(settings: Settings, features: FeatureSet, most: int = 200_000) -> int:
    """Delete keys of epochs that are neither current nor being built, at most about `most`; returns how many went.

    They are what rebuilds left that died and were never gone on with, and what was on its way to an epoch as it was replaced.
    """
    with state_client(settings, "Abandoned epochs could not be swept") as client:
        epoch_key = OnlineState(client, features, settings.namespace).calls.epoch_key
        current, plan = client.get(epoch_key), PlanStore(client, epoch_key).load()
        if current is None:
            return 0
        keep = {int(current), *([plan.epoch] if plan else [])}
        return sweep_epochs(client, settings.namespace, keep=keep, most=most)

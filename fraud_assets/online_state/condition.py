"""Whether the online state has to be made anew without anybody asking: it was there, and Redis lost it."""

from fraud_assets.lake import Lake
from fraud_assets.online_state.epochs import epoch_registry, past_rebuilds
from fraud_core.features import FeatureSet, OnlineState, state_client
from fraud_core.features.handover import lost_key
from fraud_core.settings import Settings


def lost_state(settings: Settings, lake: Lake, features: FeatureSet) -> str | None:
    """Why the state has to be rebuilt, for people; None when it is there, or was never built.

    A state of another declaration is not lost: whoever changed the declaration decides when to rebuild. Raises
    StateError when Redis cannot be reached, for then nothing is known.
    """
    if not epoch_registry(lake):
        return None
    with state_client(settings, "Whether the online state is lost cannot be seen") as client:
        keys = OnlineState(client, features, settings.namespace).calls
        epoch, withdrawn = client.get(keys.epoch_key), client.get(lost_key(keys.epoch_key))
    if epoch is None:
        return (
            withdrawn.decode()
            if withdrawn
            else "Redis holds no epoch: it was wiped, or came back without its file"
        )
    newest = past_rebuilds(lake, 1)
    if newest and newest[0]["epoch"] > int(epoch):
        return f"Redis came back from an older copy: it is at epoch {int(epoch)}, and {newest[0]['epoch']} had been built"
    return None

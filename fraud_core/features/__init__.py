"""Features: one declaration, two executions that agree bit for bit.

`load_features` reads features.yaml against the contracts; `compute_offline` computes whole frames; `OnlineState` (and
its asyncio twin) applies single events to state in Redis; `rebuild` makes that state anew from history.
"""

from fraud_core.features.calls import Applied, EntityFeatures, LabelsApplied
from fraud_core.features.connect import state_client
from fraud_core.features.declaration import load_features
from fraud_core.features.feature_set import Feature, FeatureSet
from fraud_core.features.labels import label_effects, told_order
from fraud_core.features.offline import compute_offline
from fraud_core.features.online import AsyncOnlineState, OnlineState, epoch_record
from fraud_core.features.order import Epochs, out_of_turn, up_to
from fraud_core.features.rebuild import Rebuilt, drop_epoch, next_epoch, rebuild, sweep_epochs, write_states

__all__ = [
    "Applied",
    "AsyncOnlineState",
    "EntityFeatures",
    "Epochs",
    "Feature",
    "FeatureSet",
    "LabelsApplied",
    "OnlineState",
    "Rebuilt",
    "compute_offline",
    "drop_epoch",
    "epoch_record",
    "label_effects",
    "load_features",
    "next_epoch",
    "out_of_turn",
    "rebuild",
    "state_client",
    "sweep_epochs",
    "told_order",
    "up_to",
    "write_states",
]

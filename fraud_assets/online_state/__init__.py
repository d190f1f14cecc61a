"""The online feature state, as far as the graph is concerned: made anew from the lake, and told of labels."""

from fraud_assets.online_state.build import StateBuild
from fraud_assets.online_state.epochs import EPOCHS, epoch_registry
from fraud_assets.online_state.labels import push_label_effects
from fraud_assets.online_state.rebuild import rebuild_state
from fraud_assets.online_state.sweep import sweep_abandoned

__all__ = ["EPOCHS", "StateBuild", "epoch_registry", "push_label_effects", "rebuild_state", "sweep_abandoned"]

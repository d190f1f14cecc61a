"""Whether a rebuild would take the live model out of service: a model is served only with the features that it learned from."""

import json
import logging
from typing import Any, Final

from fraud_core.errors import SpearheadError, StateError
from fraud_core.features import FeatureSet, OnlineState
from fraud_core.release import read_aliases, read_manifest
from fraud_core.settings import Settings

_LOG = logging.getLogger(__name__)
_NAMED: Final = 8
"""Features that are named one by one."""


def refuse_to_orphan(settings: Settings, client: Any, state: OnlineState, features: FeatureSet) -> None:
    """Raise StateError where the state in use belongs to another declaration, and the live model lacks features of the new one.

    Where no state is in use, or it is of this declaration, the rebuild takes nothing from the model.
    """
    epoch = client.get(state.calls.epoch_key)
    registered = client.hget(state.calls.epochs_key, epoch) if epoch is not None else None
    if registered is None or json.loads(registered).get("state_hash") == features.state_hash:
        return
    try:
        version = read_aliases(settings.bundles_path).champion
        if version is None:
            return
        missing, changed = read_manifest(settings.bundles_path / version).unmet(features.hashes)
    except SpearheadError as error:  # a model that cannot be read is not served either
        _LOG.warning("Whether the live model could go on cannot be seen: %s", error)
        return
    if missing or changed:
        raise StateError(
            f"The live model {version} cannot be served with this declaration: features that it lacks: {_named(missing)}; features "
            f"that are defined otherwise now: {_named(changed)}. The rebuild would take it out of service, and was not begun. Put these "
            "features back as they were, beside the new ones, until a model without them is released (docs/contracts.md, Changing "
            "features under a live model); or, to have payments decided without a model until then: spearhead state rebuild "
            "--without-model"
        )


def _named(features: list[str]) -> str:
    more = f" and {len(features) - _NAMED} more" if len(features) > _NAMED else ""
    return (", ".join(features[:_NAMED]) or "none") + more

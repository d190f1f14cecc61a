"""What assets are given: the settings, and from them the contracts, the feature set and the lake."""

from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from fraud_assets.lake import Lake, open_lake
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.features import FeatureSet, load_features
from fraud_core.settings import Settings, load_settings


class Platform(dg.ConfigurableResource):
    """Opens on first use what a run needs; a code location that only shows its graph opens nothing."""

    overrides: dict[str, Any] = Field(default_factory=dict)
    """Settings that win over the environment, for tests."""

    @cached_property
    def settings(self) -> Settings:
        return load_settings(**self.overrides)

    @cached_property
    def contracts(self) -> Contracts:
        return load_contracts(self.settings.contracts)

    @cached_property
    def features(self) -> FeatureSet:
        return load_features(self.contracts.features_path, self.contracts)

    @cached_property
    def lake(self) -> Lake:
        return open_lake(self.settings)

    @property
    def bundles(self) -> Path:
        return self.settings.bundles_path

    def candidate(self, snapshot: str) -> Path:
        """Folder in which a model waits for its release."""
        return self.bundles / "candidates" / snapshot

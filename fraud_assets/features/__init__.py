"""The feature table: the offline execution of the feature set, one row per transaction, by event date."""

from fraud_assets.features.build import FEATURES, build_features, feature_table_schema
from fraud_assets.features.late import days_known_since, stretches
from fraud_assets.features.spill import Room

__all__ = ["FEATURES", "Room", "build_features", "days_known_since", "feature_table_schema", "stretches"]

"""Upkeep of everything that grows: tables, training sets, reports, Dagster's own storage. No Dagster in it but for the last."""

from fraud_assets.upkeep.lake import LakeUpkeep, keep_lake

__all__ = ["LakeUpkeep", "keep_lake"]

"""What the assets of the features have in common: a partition per event date, and a range replaced by one run."""

from typing import Any, Final

from fraud_assets.orchestration.ownership import OWNERS
from fraud_assets.orchestration.partitions import event_days, one_run

DAILY: Final[dict[str, Any]] = {
    "partitions_def": event_days,
    "backfill_policy": one_run,
    "group_name": "features",
    "kinds": {"polars", "deltalake"},
    "owners": OWNERS,
}

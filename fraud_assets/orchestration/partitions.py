"""The one partitioning of the graph: by date of the event, in UTC, today included."""

import warnings
from datetime import date

import dagster as dg

from fraud_core.errors import SettingsError
from fraud_core.settings import load_settings

# A range of days is one run: the fold that reaches the first day has everything for the last.
warnings.filterwarnings(
    "ignore", "Parameter `backfill_policy`", dg.BetaWarning
)  # beta in Dagster 1.13, stable in use
one_run = dg.BackfillPolicy.single_run()

event_days = dg.DailyPartitionsDefinition(
    start_date=load_settings().first_event_date.isoformat(), end_offset=1
)


def days_of(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """First and last event date that the run is for. Raises SettingsError for a run that was started without any."""
    if not (context.has_partition_key or context.has_partition_key_range):
        raise SettingsError(
            "A range of event dates was expected, since this works day by day; the run names none. Choose partitions in the UI, "
            "or give --from and --to."
        )
    days = context.partition_key_range
    return date.fromisoformat(days.start), date.fromisoformat(days.end)

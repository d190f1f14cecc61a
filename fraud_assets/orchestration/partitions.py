"""The one partitioning of the graph: by date of the event, in UTC, today included."""

import warnings

import dagster as dg

from fraud_core.settings import load_settings

# A range of days is one run: the fold that reaches the first day has everything for the last.
warnings.filterwarnings(
    "ignore", "Parameter `backfill_policy`", dg.BetaWarning
)  # beta in Dagster 1.13, stable in use
one_run = dg.BackfillPolicy.single_run()

event_days = dg.DailyPartitionsDefinition(
    start_date=load_settings().first_event_date.isoformat(), end_offset=1
)

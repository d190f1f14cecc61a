"""The one partitioning of the graph: by date of the event, in UTC, today included."""

import dagster as dg

from fraud_core.settings import load_settings

event_days = dg.DailyPartitionsDefinition(start_date=load_settings().first_event_date.isoformat(), end_offset=1)

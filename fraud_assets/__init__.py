"""The Dagster tier: a log of events becomes governed tables, features, models and reports."""

from fraud_assets.memory import let_polars_keep

let_polars_keep()

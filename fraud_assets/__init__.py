"""The Dagster tier: a log of events becomes governed tables, features, models and reports."""

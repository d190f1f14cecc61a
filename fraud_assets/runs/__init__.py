"""Runs started from the command line: through a running Dagster where there is one, else in this process."""

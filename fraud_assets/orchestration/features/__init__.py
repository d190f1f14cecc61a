"""The feature table."""

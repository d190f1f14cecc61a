"""Data-quality reports."""

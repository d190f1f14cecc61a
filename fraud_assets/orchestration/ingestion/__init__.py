"""Ingestion: one op that fills the tables, and the sensor that keeps it alive."""

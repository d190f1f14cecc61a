"""From features and labels to a judged, released model. Pure functions on frames and arrays; no Dagster."""

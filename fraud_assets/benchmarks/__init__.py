"""Benchmarks of the asset tier: `spearhead bench …`, each on servers and a lake of its own, gone afterwards.

They measure the real thing from outside (the log, the Dagster run, the tables); no code of the product knows of them.
"""

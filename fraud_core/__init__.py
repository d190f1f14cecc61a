"""What both tiers must agree on: settings, contracts, the log, features, the release bundle.

It imports neither Dagster nor BentoML, nor either tier; import-linter holds that.
"""

__version__ = "0.1.0"

"""What a code location says about itself, so that a command line knows whose runs it would start."""

import dagster as dg

RESOURCE = "address"


class Address(dg.ConfigurableResource):
    """Shown among the resources of the Dagster UI; no asset uses it."""

    lake: str
    """Root of the Delta tables that the runs of this location write."""

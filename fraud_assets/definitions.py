"""The code location: assembles what the folders under `orchestration` declare."""

import dagster as dg

from fraud_assets import orchestration
from fraud_assets.orchestration import checks, jobs, schedules, sensors
from fraud_assets.orchestration.handles import HandleStore
from fraud_assets.orchestration.resources import Platform
from fraud_assets.runs.address import RESOURCE, Address


@dg.definitions
def definitions() -> dg.Definitions:
    """Assemble the graph."""
    platform = Platform()
    return dg.Definitions(
        assets=dg.load_assets_from_package_module(orchestration),
        asset_checks=checks,
        jobs=jobs,
        schedules=schedules,
        sensors=sensors,
        resources={
            "platform": platform,
            "handles": HandleStore(platform=platform),
            RESOURCE: Address(lake=platform.settings.lake_uri),
        },
        executor=dg.in_process_executor,
    )

"""The tables that ingestion fills, by one op that may run for seconds or for as long as it is kept alive."""

from collections.abc import Iterator
from datetime import timedelta
from enum import Enum

import dagster as dg

from fraud_assets.ingestion import run_ingest
from fraud_assets.ingestion.groups import ShardGroup
from fraud_assets.lake import STREAMS, quarantine_of
from fraud_assets.orchestration.ingestion.reporting import CONTRACT_CHECK, Reporter
from fraud_assets.orchestration.ownership import OWNERS
from fraud_assets.orchestration.resources import Platform
from fraud_core.platform.signals import asked_to_stop

_GRAINS = {
    "transactions": (
        "One row per payment event that keeps its contract, by event date, exactly once. Fed by the streams transactions and "
        "decisions. Materializing it ingests everything that is on the log at that moment."
    ),
    "labels": "One row per report of fraud or of a genuine payment, by the payment's event date; corrections are new rows.",
    "decisions": "One row per scored payment: score, decision, reasons, model version and the vector it was scored with.",
}


class Drive(Enum):
    """How far an ingest run goes."""

    END = "end"
    """To the end of the log as of its start: what a person wants who clicks Materialize."""
    LOOP = "loop"
    """Plan after plan for SPEARHEAD_INGEST_RUN_S seconds: the sensor's default."""
    PLAN = "plan"
    """One plan per shard."""


class IngestConfig(dg.Config):
    """What an ingest run is told."""

    drive: Drive = Drive.END
    group: int = 0
    """The group of shards that this run takes, of `groups`."""
    groups: int = 1


def _spec(table: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        table,
        description=description,
        group_name="ingestion",
        owners=OWNERS,
        kinds={"deltalake", "redis"},
        skippable=True,
        code_version="1",
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=1), warn_window=timedelta(minutes=20)
        ),
    )


_TABLES = [_spec(stream, _GRAINS[stream]) for stream in STREAMS] + [
    _spec(
        quarantine_of(stream),
        f"One row per event of the stream {stream} that was kept out: the bytes as they came with every reason (violation), "
        "or a repetition of an event already held (duplicate).",
    )
    for stream in STREAMS
]


@dg.multi_asset(
    name="ingest",
    specs=_TABLES,
    check_specs=[
        dg.AssetCheckSpec(
            CONTRACT_CHECK,
            asset=stream,
            description="Events that broke the contract, by rule. They are in quarantine: the check warns and blocks nothing.",
        )
        for stream in STREAMS
    ],
    can_subset=True,
)
def ingest(
    context: dg.AssetExecutionContext, config: IngestConfig, platform: Platform
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Bring the log into the lake; reports at most every 30 s while it runs, and at its end.

    In no pool: a run started by hand need not wait for the one that the sensor keeps alive, since commits settle races.
    """
    selected = {key.to_user_string() for key in context.selected_asset_keys}
    streams = [stream for stream in STREAMS if {stream, quarantine_of(stream)} & selected]
    if "transactions" in selected and "decisions" not in streams:
        streams.append("decisions")
    reporter = Reporter(context, platform, selected)
    # A signal ends the plan in hand, then the run: stopping the platform is no failure.
    with asked_to_stop() as stop:

        def between_plans() -> bool:
            reporter.report_if_due()
            return stop()

        run_ingest(
            platform.settings,
            streams,
            until=timedelta(seconds=platform.settings.ingest_run_s) if config.drive is Drive.LOOP else "end",
            plans_per_shard=1 if config.drive is Drive.PLAN else None,
            on_commit=reporter.committed,
            stop=between_plans,
            group=ShardGroup(config.group, config.groups),
        )
        if stop():
            context.log.info("asked to stop: ended after the plan in hand; the next run goes on from there")
    yield from reporter.results()

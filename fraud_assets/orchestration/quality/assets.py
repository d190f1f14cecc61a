"""Data-quality results as an asset: its table, its trends, and checks that read from it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from fraud_assets.lake import LEDGER, STREAMS, quarantine_of
from fraud_assets.orchestration.ownership import OWNERS
from fraud_assets.orchestration.pictures import page, picture, table
from fraud_assets.orchestration.resources import Platform
from fraud_assets.quality import trends
from fraud_assets.quality.results import ANY, DATA_QUALITY, read_results, record_results
from fraud_core.platform.signals import asked_to_stop

_RECENT = timedelta(hours=1)
_SHOWN = 40
_FIRST = 15


class TrendConfig(dg.Config):
    """What the pictures show."""

    days: int = 7
    """Results of so many days up to now."""


@dg.asset(
    name=DATA_QUALITY,
    deps=[quarantine_of(stream) for stream in STREAMS],
    group_name="quality",
    kinds={"deltalake", "polars"},
    owners=OWNERS,
    code_version="1",
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=26), warn_window=timedelta(hours=3)
    ),
    check_specs=[
        dg.AssetCheckSpec(
            "refused_share",
            asset=DATA_QUALITY,
            description="No stream's share of refused events within the last hour is above SPEARHEAD_REFUSED_SHARE_WARN.",
        ),
        dg.AssetCheckSpec(
            "new_reasons",
            asset=DATA_QUALITY,
            description="No rule was broken within the last hour that held in all the days before: mostly a producer that changed.",
        ),
        dg.AssetCheckSpec(
            "agrees_with_ledger",
            asset=DATA_QUALITY,
            description="Every batch of the ledger is in the table once, with as many events and violations.",
        ),
    ],
    description=(
        "One row per batch and broken rule, and one per batch for all rules together (code `any`): events checked and failed. A rule "
        "without a row failed nowhere. Ingestion records it, from ledger and quarantine; materializing it renews the pictures."
    ),
)
def data_quality(
    config: TrendConfig, platform: Platform
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Record what is still to be recorded, then show and check the results of some days."""
    with asked_to_stop():  # seconds of work: what stops the platform waits for them, and the run ends well
        told = list(_told(config, platform))
    yield from told


def _told(config: TrendConfig, platform: Platform) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    lake, now = platform.lake, datetime.now(UTC)
    record_results(lake)
    everything = read_results(lake)
    results = everything.filter(pl.col("judged_at") >= now - timedelta(days=config.days)).collect()
    counts = trends.counts_per_rule(results)
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/row_count": dg.MetadataValue.int(int(everything.select(pl.len()).collect().item())),
        "dagster/uri": dg.MetadataValue.text(lake.uri_of(DATA_QUALITY)),
        "batches": dg.MetadataValue.int(results.filter(code=ANY).height),
        # The whole table is among the trends; what does not fit into the UI's column is cut on the right.
        "by_rule": dg.MetadataValue.table(
            [
                dg.TableRecord({"rule": code, "failed": failed, "share": f"{share:.3%}", "stream": stream})
                for stream, code, _, _, failed, share in counts.head(_FIRST).iter_rows()
            ],
            schema=dg.TableSchema(
                [
                    dg.TableColumn("rule", "string"),
                    dg.TableColumn("failed", "int"),
                    dg.TableColumn("share", "string"),
                    dg.TableColumn("stream", "string"),
                ]
            ),
        ),
    }
    if results.height:
        metadata["trends"] = page(
            f"Batches judged within {config.days} days up to {now:%Y-%m-%d %H:%M} UTC.",
            picture("share of refused events over time", trends.refused_share(results)),
            picture("violations by rule over time", trends.failures_by_rule(results)),
            table(
                ["rule", "checked", "failed", "share"],
                [
                    [f"{stream}: `{code}`", f"{checked:,}", f"{failed:,}", f"{share:.3%}"]
                    for stream, code, _, checked, failed, share in counts.head(_SHOWN).iter_rows()
                ],
            ),
        )
    yield dg.MaterializeResult(metadata=metadata)
    yield _refused_share(platform, results, now)
    yield _new_reasons(results, now)
    yield _agrees_with_ledger(platform)


def _refused_share(platform: Platform, results: pl.DataFrame, now: datetime) -> dg.AssetCheckResult:
    limit = platform.settings.refused_share_warn
    shares = {
        stream: share
        for stream, code, _, _, _, share in trends.counts_per_rule(
            results.filter(pl.col("judged_at") >= now - _RECENT)
        ).iter_rows()
        if code == ANY
    }
    return dg.AssetCheckResult(
        check_name="refused_share",
        passed=all(share <= limit for share in shares.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"limit": limit} | {f"share_{stream}": share for stream, share in shares.items()},
    )


def _new_reasons(results: pl.DataFrame, now: datetime) -> dg.AssetCheckResult:
    found = trends.new_reasons(results, now - _RECENT)
    return dg.AssetCheckResult(
        check_name="new_reasons",
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"new": dg.MetadataValue.json([vars(each) for each in found])},
    )


def _agrees_with_ledger(platform: Platform) -> dg.AssetCheckResult:
    """Totals per life of a shard; a batch that is in the ledger and not here shows in them, one that is here twice too."""
    lake = platform.lake
    place = ["stream", "shard", "incarnation"]
    differing: list[dict[str, object]] = []
    batches = 0
    if lake.exists(LEDGER):
        ledger = lake.scan(LEDGER).select(
            *place,
            "start",
            "end",
            checked="events",
            failed="violations",
            batches=pl.col("plans").fill_null(1),
        )
        mine = (
            read_results(lake)
            .filter(pl.col("code") == ANY)
            .select(*place, "start", "end", "checked", "failed", batches=pl.lit(1, pl.Int64))
        )
        # What both hold whole: old rows are retired here and joined there, new ones are still to be recorded.
        held = mine.group_by(place).agg(
            pl.col("start").min().alias("from"), pl.col("end").max().alias("upto")
        )
        both = (
            ledger.join(held, on=place)
            .filter(pl.col("start") >= pl.col("from"), pl.col("end") <= pl.col("upto"))
            .group_by(place)
            .agg(pl.col("start").min().alias("low"), pl.col("end").max().alias("high"))
        )
        totals = [
            each.join(both, on=place)
            .filter(pl.col("start") >= pl.col("low"), pl.col("end") <= pl.col("high"))
            .group_by(place)
            .agg(pl.col("batches", "checked", "failed").sum())
            .collect()
            for each in (mine, ledger)
        ]
        together = pl.concat(totals)
        batches = int(totals[0]["batches"].sum())
        differing = together.filter(~together.is_duplicated()).sort(together.columns).to_dicts()
    return dg.AssetCheckResult(
        check_name="agrees_with_ledger",
        passed=not differing,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"batches": batches, "differing": dg.MetadataValue.json(differing)},
    )

"""Data-quality reports by Great Expectations, as checks that link to their page."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import STREAMS, quarantine_of, read_transactions
from fraud_assets.lake.schemas import TRANSACTIONS
from fraud_assets.orchestration.quality.addresses import report_address
from fraud_assets.orchestration.resources import Platform
from fraud_assets.quality import build_report, write_index


class ReportConfig(dg.Config):
    """Which rows a report is about."""

    days: int = 1
    """Rows known within so many days of now; 0: all rows there are."""


def _report_check(stream: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=stream,
        name="great_expectations",
        additional_deps=[quarantine_of(stream)],
        pool="quality",
        description=(
            "Great Expectations judges the table and its quarantine again, by the same contract; the report shows every promise "
            "with its violations and examples, personal data masked."
        ),
    )
    def great_expectations(config: ReportConfig, platform: Platform) -> dg.AssetCheckResult:
        lake, settings = platform.lake, platform.settings
        now = datetime.now(UTC)
        period = pl.lit(True) if config.days == 0 else pl.col("known_at") >= now - timedelta(days=config.days)
        folder = settings.reports_path / stream / f"{now:%Y-%m-%dT%H%M%SZ}"
        span = {0: "all rows", 1: "the last day"}.get(config.days, f"the last {config.days} days")
        contract = platform.contracts.for_stream(stream)
        # A payment that was sent and scored over HTTP stands in the table once per stream; it is one payment.
        rows = read_transactions(lake, contract) if stream == TRANSACTIONS else lake.scan(stream)
        result = build_report(
            contract,
            rows.filter(period).collect(),
            lake.scan(quarantine_of(stream)).filter(period).collect(),
            folder,
            f"{stream}, {span}",
            unseal=Seal.of(settings).open,
        )
        write_index(settings.reports_path)
        return dg.AssetCheckResult(
            passed=result.success,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "report": dg.MetadataValue.url(report_address(settings, folder)),
                "admitted": result.admitted,
                "refused": result.refused,
                "duplicates": result.duplicates,
                "refused_by_rule": dg.MetadataValue.json(dict(result.counts)),
                "disagreements": dg.MetadataValue.json(list(result.disagreements)),
            },
        )

    return great_expectations


report_checks = [_report_check(stream) for stream in STREAMS]

"""Data-quality reports by Great Expectations, as checks that link to their page."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import dagster as dg

from fraud_assets.ingestion.sealing import Seal
from fraud_assets.lake import STREAMS, quarantine_of
from fraud_assets.orchestration.quality.addresses import report_address
from fraud_assets.orchestration.resources import Platform
from fraud_assets.quality import ReportResult
from fraud_assets.quality.period import Period
from fraud_assets.quality.reports import make_hourly_reports, make_report
from fraud_core.platform.signals import asked_to_stop


class ReportConfig(dg.Config):
    """Which rows a report is about."""

    days: int = 1
    """What was judged within so many days of now; 0: all rows there are."""
    by_hour: bool = False
    """Instead, a report per full hour with violations that has none yet."""


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
        lake, contracts, settings = platform.lake, platform.contracts, platform.settings
        now, folder, unseal = datetime.now(UTC), settings.reports_path, Seal.of(settings).open
        if not lake.exists(stream):
            return dg.AssetCheckResult(passed=True, metadata={"reports": "Nothing was ingested yet."})
        with (
            asked_to_stop()
        ):  # seconds of work: what stops the platform waits for them, and the run ends well
            if config.by_hour:
                made = make_hourly_reports(lake, contracts, stream, now, folder, unseal=unseal)
            else:
                period = Period.days_before(now, config.days)
                made = {period: make_report(lake, contracts, stream, period, folder, unseal=unseal)}
        return _result(platform, stream, made)

    return great_expectations


def _result(platform: Platform, stream: str, made: Mapping[Period, ReportResult]) -> dg.AssetCheckResult:
    folder = platform.settings.reports_path

    def address(period: Period) -> str:
        return report_address(platform.settings, folder / stream / period.folder)

    metadata: dict[str, dg.MetadataValue] = {
        "report": dg.MetadataValue.url(
            address(list(made)[-1]) if made else report_address(platform.settings, folder)
        ),
        "reports": dg.MetadataValue.md(_listed(made, address)),
        "admitted": dg.MetadataValue.int(sum(each.admitted for each in made.values())),
        "refused": dg.MetadataValue.int(sum(each.refused for each in made.values())),
        "duplicates": dg.MetadataValue.int(sum(each.duplicates for each in made.values())),
        "refused_by_rule": dg.MetadataValue.json(_together(made)),
        "disagreements": dg.MetadataValue.json(
            sorted({code for each in made.values() for code in each.disagreements})
        ),
    }
    return dg.AssetCheckResult(
        passed=all(each.success for each in made.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def _listed(made: Mapping[Period, ReportResult], address: Callable[[Period], str]) -> str:
    if not made:
        return "No full hour had violations without a report."
    return "\n".join(
        f"- [{period.words}]({address(period)}): {result.refused} refused of {result.admitted + result.refused}, "
        + ("keeps its contract" if result.success else "**look here**")
        for period, result in made.items()
    )


def _together(made: Mapping[Period, ReportResult]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in made.values():
        for code, count in each.counts.items():
            counts[code] = counts.get(code, 0) + count
    return counts


report_checks = [_report_check(stream) for stream in STREAMS]

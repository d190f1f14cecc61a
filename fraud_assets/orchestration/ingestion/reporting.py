"""What an ingest run tells Dagster: counts per table and per broken rule, while it runs and at its end."""

import time
from collections.abc import Iterator
from datetime import datetime

import dagster as dg
import polars as pl

from fraud_assets.ingestion import Commit, IngestTotals
from fraud_assets.lake import STREAMS, quarantine_of
from fraud_assets.orchestration.quality.addresses import report_address
from fraud_assets.orchestration.resources import Platform
from fraud_assets.quarantine import state_counts

CONTRACT_CHECK = "contract"
REPORT_EVERY_S = 30.0


class Reporter:
    """Collects commits and reports them at most every REPORT_EVERY_S, so that Dagster's storage stays small."""

    def __init__(self, context: dg.AssetExecutionContext, platform: Platform, selected: set[str]) -> None:
        self.context, self.platform, self.selected = context, platform, selected
        self.totals = {stream: IngestTotals() for stream in STREAMS}
        self.ends: dict[str, dict[str, int]] = {stream: {} for stream in STREAMS}
        self.last_append: dict[str, datetime] = {}
        self.dirty: set[str] = set()
        self.reported_at = float("-inf")

    def committed(self, commit: Commit) -> None:
        """Take note of a commit, and report when it is time."""
        self.totals[commit.stream].add(commit)
        self.ends[commit.stream][str(commit.shard)] = commit.end
        if commit.last_append_at:
            self.last_append[commit.stream] = commit.last_append_at
        self.dirty.add(commit.stream)
        self.context.log.info(
            "%s/%d (%d, %d]: %d valid, %d duplicates, %d violations%s",
            commit.stream,
            commit.shard,
            commit.start,
            commit.end,
            commit.valid,
            commit.duplicates,
            commit.violations,
            ", finishing what an interrupted run had begun" if commit.resumed else "",
        )
        self.report_if_due()

    def report_if_due(self) -> None:
        """Report what was not, once it is time; asked between plans, too, so that no commit waits for the next one to be told of."""
        if self.dirty and time.monotonic() - self.reported_at >= REPORT_EVERY_S:
            self._report()

    def _report(self) -> None:
        for stream in sorted(self.dirty):
            for table in (stream, quarantine_of(stream)):
                if table in self.selected:
                    self.context.log_event(
                        dg.AssetMaterialization(table, metadata=self._table_metadata(stream, table))
                    )
            if stream in self.selected:
                self.context.log_event(
                    dg.AssetCheckEvaluation(
                        asset_key=dg.AssetKey(stream),
                        check_name=CONTRACT_CHECK,
                        passed=self.totals[stream].violations == 0,
                        severity=dg.AssetCheckSeverity.WARN,
                        metadata=self._check_metadata(stream),
                    )
                )
        self.dirty.clear()
        self.reported_at = time.monotonic()

    def results(self) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """The run's last word on every selected table and check."""
        for stream in STREAMS:
            for table in (stream, quarantine_of(stream)):
                if table in self.selected:
                    yield dg.MaterializeResult(table, metadata=self._table_metadata(stream, table))
            if stream in self.selected:
                yield dg.AssetCheckResult(
                    asset_key=stream,
                    check_name=CONTRACT_CHECK,
                    passed=self.totals[stream].violations == 0,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata=self._check_metadata(stream),
                )

    def _table_metadata(self, stream: str, table: str) -> dict[str, dg.MetadataValue]:
        totals = self.totals[stream]
        added = totals.valid if table == stream else totals.violations + totals.duplicates
        metadata: dict[str, dg.MetadataValue] = {
            "rows_added_by_this_run": dg.MetadataValue.int(added),
            "events": dg.MetadataValue.int(totals.events),
            "duplicates": dg.MetadataValue.int(totals.duplicates),
            "violations": dg.MetadataValue.int(totals.violations),
            "commits": dg.MetadataValue.int(totals.commits),
            # As text: the UI's numbers end at 2^53, offsets do not.
            "committed_up_to": dg.MetadataValue.json({k: str(end) for k, end in self.ends[stream].items()}),
            "data_quality_report": dg.MetadataValue.url(self._latest_report(stream)),
            "dagster/uri": dg.MetadataValue.text(self.platform.lake.uri_of(table)),
            "dagster/row_count": dg.MetadataValue.int(self._row_count(table)),
        }
        if table != stream:
            metadata |= self._work(stream)
        if stream in self.last_append:
            metadata["last_append"] = dg.MetadataValue.timestamp(self.last_append[stream])
        return metadata

    def _work(self, stream: str) -> dict[str, dg.MetadataValue]:
        """How far people have come with what was refused, and the commands with which they work on it."""
        counts = state_counts(self.platform.lake, stream)
        return {
            "open": dg.MetadataValue.int(counts.open),
            "replayed": dg.MetadataValue.int(counts.replayed),
            "discarded": dg.MetadataValue.int(counts.discarded),
            "work_on_them": dg.MetadataValue.md(_commands(stream)),
        }

    def _latest_report(self, stream: str) -> str:
        """Address of the table's newest data-quality report, or of the list of all while there is none."""
        # Dagster shows a check's result for the latest materialization only; this link is there all the time.
        folder = self.platform.settings.reports_path
        made = sorted(path.parent for path in folder.glob(f"{stream}/*/report.json"))
        return report_address(self.platform.settings, made[-1] if made else folder)

    def _row_count(self, table: str) -> int:
        lake = self.platform.lake
        return int(lake.scan(table).select(pl.len()).collect().item()) if lake.exists(table) else 0

    def _check_metadata(self, stream: str) -> dict[str, dg.MetadataValue]:
        totals = self.totals[stream]
        rules = sorted(totals.reasons.items(), key=lambda item: -item[1])
        return {
            "violations": dg.MetadataValue.int(totals.violations),
            "share": dg.MetadataValue.float(totals.violations / totals.events if totals.events else 0.0),
            "by_rule": dg.MetadataValue.table(
                [dg.TableRecord({"rule": rule, "events": count}) for rule, count in rules],
                schema=dg.TableSchema([dg.TableColumn("rule", "string"), dg.TableColumn("events", "int")]),
            ),
            "report": dg.MetadataValue.url(self._latest_report(stream)),
            "quarantine": dg.MetadataValue.text(self.platform.lake.uri_of(quarantine_of(stream))),
            "work_on_them": dg.MetadataValue.md(_commands(stream)),
        }


def _commands(stream: str) -> str:
    select = f"--stream {stream}"
    return (
        f"`spearhead quarantine list {select} --by reason` · `list {select} --reason CODE` · `show ID` · "
        f"`replay {select} --reason CODE --map FILE --dry-run` · `discard ID --actor NAME --because TEXT`"
    )

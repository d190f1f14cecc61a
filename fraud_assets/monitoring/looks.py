"""What the exporter tells, taken from the log, the lake, Dagster and the release: one look each, none knows the others.

The number of series is bounded: by shards and readers, by the tables of the contracts, by rules and features. Names that
somebody could make up without end (training sets, versions of models of the past) are no labels.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl
from prometheus_client.metrics_core import Metric

from fraud_assets.features import FEATURES
from fraud_assets.ingestion.ledger import ledger_rows
from fraud_assets.lake import LEDGER, STREAMS, Lake, open_lake, quarantine_of
from fraud_assets.lake.files import LOG, files_of
from fraud_assets.lake.store import probe_store
from fraud_assets.monitoring.drift import Drift
from fraud_assets.monitoring.families import family
from fraud_assets.quality.results import ANY, DATA_QUALITY, read_results
from fraud_assets.quarantine.states import state_counts
from fraud_assets.runs.client import DagsterClient
from fraud_core.backlog import Gauge, by_reader
from fraud_core.contracts import load_contracts
from fraud_core.log import open_log
from fraud_core.release.path_aliases import PathAliasStore
from fraud_core.settings import Settings

WINDOW: Final = timedelta(hours=24)
_RULES: Final = 100
"""Most rules of a stream that have a series of their own; the rest are added up."""
_PRESSURE: Final = {"ok": 0, "high": 1, "critical": 2}
_ASSETS: Final = """
query { assetsOrError { __typename
  ... on AssetConnection { nodes { key { path } assetMaterializations(limit: 1) { timestamp metadataEntries {
    label ... on IntMetadataEntry { intValue } ... on JsonMetadataEntry { jsonString } } } } }
  ... on Error { message } } }"""


class LogLook:
    """Backlogs; keeps its connection and its last look, for rates."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = open_log(settings)
        self._gauge = Gauge(self._log, settings)

    def __call__(self) -> list[Metric]:
        rows = self._gauge.look()
        keys = [(row.stream, str(row.shard), row.reader) for row in rows]
        place = ("stream", "shard", "reader")

        def each(name: str, text: str, values: Iterable[float | None]) -> Metric:
            known = ((key, value) for key, value in zip(keys, values, strict=True) if value is not None)
            return family(name, text, place, known)

        shards = {(row.stream, str(row.shard)): float(row.entries_held) for row in rows}
        return [
            each("backlog_events", "Events that a reader has still to read.", (row.events for row in rows)),
            each("backlog_oldest_age_seconds", "Since when the oldest of them has waited.", (row.oldest_age_s for row in rows)),
            each("backlog_arrived_per_second", "Events appended, by the last two looks.", (row.arrived_per_s for row in rows)),
            each("backlog_drained_per_second", "Events read, by the last two looks.", (row.drained_per_s for row in rows)),
            each("backlog_time_to_empty_seconds", "At present rates; absent while it grows.", (row.time_to_empty_s for row in rows)),
            each("reader_alarm", "1 where a reader stands still or its next entry is lost.", (float(bool(row.alarm)) for row in rows)),
            family("log_entries", "Entries that a shard holds, read or not.", ("stream", "shard"), shards.items()),
            family(
                "backlog_pressure",
                "0 ok, 1 high, 2 critical, by the settings' thresholds.",
                ("reader",),
                (((total.reader,), _PRESSURE[total.level]) for total in by_reader(rows, self._settings)),
            ),
        ]  # fmt: skip


class LakeLook:
    """Freshness and size of the tables, what was refused, how far features moved; what a version has told is not asked again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._contracts = load_contracts(settings.contracts)
        self._lake = open_lake(settings)
        self._drift = Drift(self._lake)
        self._tables: dict[str, tuple[int, dict[str, float]]] = {}
        self._refused: tuple[int, list[Metric]] = (-1, [])

    def __call__(self) -> list[Metric]:
        if (
            self._settings.lake_marker
        ):  # a volume that is not mounted any more must not pass for an empty lake
            probe_store(self._settings)
        names = [*STREAMS, *map(quarantine_of, STREAMS), LEDGER, DATA_QUALITY, FEATURES]
        found = {name: self._table(self._lake, name) for name in names if self._lake.exists(name)}
        texts = {
            "table_rows": "Rows of a table.",
            "table_files": "Data files of its present version.",
            "table_bytes": "Their bytes.",
            "table_version": "Its Delta version.",
            "table_log_files": "Files of its transaction log.",
            "table_commit_timestamp_seconds": "When it was last committed to.",
            "table_event_timestamp_seconds": "Watermark: the latest event time in it.",
        }
        metrics = [
            family(
                name,
                text,
                ("table",),
                (((table,), each[name]) for table, each in found.items() if name in each),
            )
            for name, text in texts.items()
        ]
        return [*metrics, *(self._verdicts() if LEDGER in found else []), *self._drift()]

    def _table(self, lake: Lake, name: str) -> dict[str, float]:
        table = lake.table(name)
        before = self._tables.get(name)
        if before is not None and before[0] == table.version():
            return before[1]
        actions = pl.DataFrame(table.get_add_actions(flatten=True))
        rows, size = (
            (actions[column].sum() if actions.height else 0) for column in ("num_records", "size_bytes")
        )
        found = {
            "table_rows": float(rows),
            "table_files": float(actions.height),
            "table_bytes": float(size),
            "table_version": float(table.version()),
            "table_log_files": float(sum(path.startswith(f"{LOG}/") for path, *_ in files_of(lake, name))),
        }
        last = table.history(1)
        if last and "timestamp" in last[0]:
            found["table_commit_timestamp_seconds"] = last[0]["timestamp"] / 1000
        if name in STREAMS or name == FEATURES:
            contract = self._contracts.for_stream(name if name in STREAMS else "transactions")
            column = f"max.{contract.event_time}"
            newest = actions[column].max() if column in actions.columns else None
            if isinstance(newest, datetime):
                found["table_event_timestamp_seconds"] = (
                    newest if newest.tzinfo else newest.replace(tzinfo=UTC)
                ).timestamp()
        self._tables[name] = (table.version(), found)
        return found

    def _verdicts(self) -> list[Metric]:
        """Of the last day: events and violations by rule; of all time: what is open in quarantine."""
        version = self._lake.table(LEDGER).version()
        if self._refused[0] == version:
            return self._refused[1]
        since = datetime.now(UTC) - WINDOW
        recent = read_results(self._lake).filter(pl.col("judged_at") >= since)
        by_rule = (
            recent.group_by("stream", "code").agg(pl.col("failed").sum(), pl.col("checked").sum()).collect()
        )
        rules, events = [], []
        for (stream,), part in by_rule.group_by("stream"):
            for code, failed, checked in (
                part.sort("failed", descending=True).select("code", "failed", "checked").iter_rows()
            ):
                if code == ANY:
                    events.append(((str(stream),), float(checked)))
                else:
                    rules.append(((str(stream), code), float(failed)))
        shown, rest = rules[:_RULES], rules[_RULES:]
        for stream in {labels[0] for labels, _ in rest}:
            shown.append(((stream, "other"), sum(count for labels, count in rest if labels[0] == stream)))
        totals = dict(ledger_rows(self._lake).group_by("stream").agg(pl.col("events").sum()).iter_rows())
        states = {stream: state_counts(self._lake, stream) for stream in STREAMS if stream in totals}
        self._refused = version, [
            family("events_judged_24h", "Events that ingestion judged in the last day.", ("stream",), events),
            family("violations_24h", "Of these, events that broke a rule, by rule.", ("stream", "rule"), shown),
            family(
                "quarantined",
                "Violations in quarantine by their state.",
                ("stream", "state"),
                (
                    ((stream, state), float(getattr(counts, state)))
                    for stream, counts in states.items()
                    for state in ("open", "replayed", "discarded")
                ),
            ),
            family(
                "open_violations_share",
                "Open violations as a share of all events ever ingested.",
                ("stream",),
                (((stream,), counts.open / max(1, totals[stream])) for stream, counts in states.items()),
            ),
        ]  # fmt: skip
        return self._refused[1]


class DagsterLook:
    """When assets were last materialized, and what the proof of parity found."""

    def __init__(self, settings: Settings) -> None:
        self._client = DagsterClient(settings)

    def __call__(self) -> list[Metric]:
        made: list[tuple[tuple[str, ...], float]] = []
        parity: dict[str, float] = {}
        mismatches: list[tuple[tuple[str, ...], float]] = []
        for node in self._client.query(_ASSETS, {})["nodes"]:
            name = "/".join(node["key"]["path"])
            for each in node["assetMaterializations"]:
                made.append(((name,), float(each["timestamp"]) / 1000))
                if name == "feature_parity":
                    told = {entry["label"]: entry for entry in each["metadataEntries"]}
                    parity = {
                        label: float(told[label]["intValue"])
                        for label in ("decisions", "compared", "mismatches")
                        if told.get(label, {}).get("intValue") is not None
                    }
                    mismatches = _rates(told.get("mismatches_per_feature", {}), parity.get("compared", 0.0))
        return [
            family("asset_timestamp_seconds", "When an asset was last materialized.", ("asset",), made),
            family(
                "parity_decisions",
                "Of the last proof of parity: decisions, those compared, and values that differed.",
                ("what",),
                (((what,), number) for what, number in parity.items()),
            ),
            family(
                "parity_mismatch_rate",
                "Share of the compared decisions in which a feature differed; features without any are absent.",
                ("feature",),
                mismatches,
            ),
        ]


class ReleaseLook:
    """What is live."""

    def __init__(self, settings: Settings) -> None:
        self._store = PathAliasStore(settings.bundles_path)

    def __call__(self) -> list[Metric]:
        live = self._store.read()
        named = {"champion": live.champion, "challenger": live.challenger, "previous": live.previous}
        return [
            family(
                "release_generation", "Changes of the aliases so far.", (), [((), float(live.generation))]
            ),
            family(
                "release_info",
                "1 for the version that an alias names.",
                ("alias", "version"),
                (((alias, version), 1.0) for alias, version in named.items() if version),
            ),
        ]


def _rates(entry: dict[str, Any], compared: float) -> list[tuple[tuple[str, ...], float]]:
    counts = json.loads(entry.get("jsonString") or "{}")
    return [((feature,), count / max(1.0, compared)) for feature, count in counts.items()]

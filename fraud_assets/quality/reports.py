"""Making the report of a table and period from the lake, however large: rows are counted and sampled where they lie."""

from datetime import datetime
from pathlib import Path

import polars as pl

from fraud_assets.lake import DECISIONS, Lake, quarantine_of
from fraud_assets.lake.schemas import TRANSACTIONS
from fraud_assets.quality.index import write_index
from fraud_assets.quality.period import DAY, Period, hours_with_violations, rows_judged
from fraud_assets.quality.refused import Unseal
from fraud_assets.quality.report import ReportResult, build_report
from fraud_assets.quality.results import record_results
from fraud_core.contracts import Contracts

MOST_ROWS = 200_000
"""Rows of a table that Great Expectations judges; more are sampled evenly."""
_LOOK_BACK = 2 * DAY
"""Hours before that stay without a report, if none was made in time."""


def make_report(
    lake: Lake, contracts: Contracts, stream: str, period: Period, folder: Path, *, unseal: Unseal = bytes
) -> ReportResult:
    """Write the report of a table and period to `folder`/<table>/<period>, and renew the index in `folder`."""
    record_results(lake)
    contract = contracts.for_stream(stream)
    rows = _admitted(lake, stream, contract.event_id, period)
    count = int(rows.select(pl.len()).collect().item())
    if count > MOST_ROWS:
        rows = rows.filter(pl.struct("_offset", "_index").hash(seed=0) % -(-count // MOST_ROWS) == 0)
    result = build_report(
        contract,
        rows.collect(),
        lake.scan(quarantine_of(stream)).filter(rows_judged(lake, period, stream)),
        folder / stream / period.folder,
        f"{stream}, {period.words}",
        unseal=unseal,
        max_rows=MOST_ROWS,
        admitted=count,
        labels={"table": stream, "period": period.words},
    )
    write_index(folder)
    return result


def make_hourly_reports(
    lake: Lake, contracts: Contracts, stream: str, now: datetime, folder: Path, *, unseal: Unseal = bytes
) -> dict[Period, ReportResult]:
    """The reports of all full hours with violations that have none yet: of the last two days, the hour of `now` excepted."""
    record_results(lake)
    current = Period.hour(now).since or now
    made: dict[Period, ReportResult] = {}
    for hour in hours_with_violations(lake, stream, current - _LOOK_BACK, current):
        period = Period.hour(hour)
        if not (folder / stream / period.folder / "report.json").exists():
            made[period] = make_report(lake, contracts, stream, period, folder, unseal=unseal)
    return made


def _admitted(lake: Lake, stream: str, event_id: str, period: Period) -> pl.LazyFrame:
    """A table's rows of the period, each event once."""
    rows = lake.scan(stream)
    if stream != TRANSACTIONS:
        return rows.filter(rows_judged(lake, period, stream))
    # A payment that was sent and scored over HTTP stands in the table once per stream; it is one payment.
    scored = rows.filter(rows_judged(lake, period, DECISIONS))
    sent = rows.filter(rows_judged(lake, period, TRANSACTIONS))
    return pl.concat([sent.join(scored.select(event_id), on=event_id, how="anti"), scored])

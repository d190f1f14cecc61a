"""The data-quality report of one table and period: what arrived, what was refused and why, promise by promise."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from fraud_assets.quality.page import render
from fraud_assets.quality.refused import Refused, Unseal, read_refused
from fraud_assets.quality.validation import Outcome, validate
from fraud_core.contracts import Check, Contract


@dataclass(frozen=True)
class PromiseResult:
    """One promise of the contract and how it was kept."""

    code: str
    words: str
    evaluated: int
    """Rows that the gate looked at."""
    violations: int
    """Rows that the gate refused for it."""
    expectations_agree: bool | None
    """Whether Great Expectations found the same on the rows that it was given; None where it has no say."""
    expectations_found: int
    """Rows in the table itself that Great Expectations finds wrong: none, or the gate let them through."""
    examples: tuple[str, ...]

    @property
    def share(self) -> float:
        """Violations by rows looked at."""
        return self.violations / self.evaluated if self.evaluated else 0.0


@dataclass(frozen=True)
class ReportResult:
    """Where the report is and what it says. `success`: the table keeps every promise and both judges agree."""

    path: Path
    success: bool
    admitted: int
    refused: int
    duplicates: int
    counts: Mapping[str, int]
    """Refused rows per reason code."""
    disagreements: tuple[str, ...]
    """Reason codes on which polars and Great Expectations differ."""


@dataclass(frozen=True)
class Report:
    """Everything that the page shows."""

    title: str
    contract: Contract
    made_at: datetime
    admitted: int
    sample: pl.DataFrame
    """The table's rows that were judged: all of them, or an even sample."""
    refused: Refused
    duplicates: int
    promises: tuple[PromiseResult, ...]

    @property
    def success(self) -> bool:
        """The table keeps every promise and both judges agree."""
        return all(
            each.expectations_found == 0 and each.expectations_agree is not False for each in self.promises
        )


def build_report(
    contract: Contract,
    valid: pl.DataFrame,
    quarantined: pl.DataFrame | pl.LazyFrame,
    out_dir: Path,
    title: str,
    *,
    unseal: Unseal = bytes,
    max_rows: int = 200_000,
    admitted: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> ReportResult:
    """Judge a period's rows with Great Expectations and write a self-contained page to `out_dir`/index.html.

    `valid` holds rows of the table (the contract's columns, and `known_at` where times are to be judged), `quarantined`
    rows of its quarantine (`reasons`; `kind`, `payload`, `known_at` where recorded). Of more than `max_rows` valid
    rows an even sample is judged, and the page says so; `admitted` is how many there are where `valid` is a sample itself.
    Beside the page stands report.json, for the index, with `labels` in it.
    """
    held = quarantined.lazy()
    refused = read_refused(contract, held, unseal, max_rows)
    sample = valid if valid.height <= max_rows else valid.gather_every(-(-valid.height // max_rows))
    count = valid.height if admitted is None else admitted
    in_table, in_refused = validate(contract, sample), validate(contract, refused.typed)
    total = count + refused.count
    promises = tuple(
        _result(check, total, refused, in_table.get(check.code), in_refused.get(check.code))
        for check in contract.checks
    )
    report = Report(title, contract, datetime.now(UTC), count, sample, refused, _duplicates(held), promises)
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "index.html"
    path.write_text(render(report), encoding="utf-8")
    result = ReportResult(
        path=path,
        success=report.success,
        admitted=count,
        refused=refused.count,
        duplicates=report.duplicates,
        counts=dict(refused.counts),
        disagreements=tuple(each.code for each in promises if each.expectations_agree is False),
    )
    summary = _summary(report, result) | dict(labels or {})
    (out_dir / "report.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return result


def _duplicates(quarantined: pl.LazyFrame) -> int:
    if "kind" not in quarantined.collect_schema().names():
        return 0
    return int(quarantined.filter(kind="duplicate").select(pl.len()).collect().item())


def _result(
    check: Check, total: int, refused: Refused, in_table: Outcome | None, in_refused: Outcome | None
) -> PromiseResult:
    agree: bool | None = None
    if check.rule == "duplicate_other_body":
        agree = None if in_table is None else in_table.violations == 0 and in_table.error is None
    elif in_table is not None and in_refused is not None:
        faultless = in_table.error is None and in_refused.error is None and in_table.violations == 0
        agree = faultless and in_refused.violations == refused.typed_counts.get(check.code, 0)
    return PromiseResult(
        code=check.code,
        words=check.words,
        evaluated=total,
        violations=refused.counts.get(check.code, 0),
        expectations_agree=agree,
        expectations_found=0 if in_table is None else in_table.violations,
        examples=refused.examples.get(check.code, ()),
    )


def _summary(report: Report, result: ReportResult) -> dict[str, object]:
    return asdict(result) | {
        "path": result.path.name,
        "title": report.title,
        "contract": report.contract.name,
        "version": report.contract.version,
        "made_at": report.made_at.isoformat(timespec="seconds"),
    }

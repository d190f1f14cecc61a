"""Refused rows read again for the report: typed where they can be, and examples of what was wrong, masked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from fraud_assets.quality.examples import Examples
from fraud_core.contracts import UNREADABLE, Contract, parse_json
from fraud_core.errors import SpearheadError

Unseal = Callable[[bytes], bytes]
MOST_BYTES: Final = 256 << 20
"""Of refused events that are read: rows alone would be no bound, for one may have megabytes."""


@dataclass(frozen=True)
class Refused:
    """What quarantine holds about the violations of a period."""

    count: int
    counts: Mapping[str, int]
    """Violations per reason code, as the gate recorded them."""
    known_at: pl.Series | None
    """When each became known, where that was recorded."""
    typed: pl.DataFrame
    """The rows whose every value could be read, with `known_at` where it was recorded."""
    typed_counts: Mapping[str, int]
    """The gate's violations per reason code among `typed`."""
    examples: Mapping[str, tuple[str, ...]]
    """Some values per reason code, masked."""
    unreadable: int
    """Rows whose bytes are not kept or are sealed."""


def read_refused(contract: Contract, quarantined: pl.LazyFrame, unseal: Unseal, limit: int) -> Refused:
    """Count all violations of a quarantine table, and read the first `limit`, or fewer where they are large; `unseal` gives bytes
    back or raises SpearheadError."""
    columns = quarantined.collect_schema().names()
    found = quarantined.filter(pl.col("kind") == "violation") if "kind" in columns else quarantined
    violations = found.select(name for name in ("reasons", "known_at") if name in columns).collect()
    if "payload" in columns:
        size = pl.col("payload").bin.size().fill_null(0).cast(pl.Int64).cum_sum()
        limit = int(found.head(limit).select((size <= MOST_BYTES).sum()).collect().item())
    read = found.head(limit).collect()
    payloads = [_open(payload, unseal) for payload in _column(read, "payload")]
    reasons: list[list[str]] = read["reasons"].to_list()
    parsed = parse_json(contract, [payload or b"" for payload in payloads])
    typed = [
        row
        for row, payload in enumerate(payloads)
        if payload is not None
        and not any(_is_unreadable(code) for code in (*parsed.found.get(row, ()), *reasons[row]))
    ]
    frame = parsed.frame[typed]
    if "known_at" in read.columns:
        frame = frame.with_columns(read["known_at"][typed])
    return Refused(
        count=violations.height,
        counts=_counts(violations["reasons"]),
        known_at=violations["known_at"] if "known_at" in violations.columns else None,
        typed=frame,
        typed_counts=_counts(read["reasons"][typed]),
        examples=Examples(contract).of(payloads, reasons),
        unreadable=sum(payload is None for payload in payloads),
    )


def _is_unreadable(code: str) -> bool:
    return code in UNREADABLE or code.endswith(".type")


def _column(frame: pl.DataFrame, name: str) -> list[bytes | None]:
    return frame[name].to_list() if name in frame.columns else [None] * frame.height


def _open(payload: bytes | None, unseal: Unseal) -> bytes | None:
    if payload is None:
        return None
    try:
        return unseal(payload)
    except SpearheadError:
        return None


def _counts(reasons: pl.Series) -> dict[str, int]:
    counted = reasons.explode(empty_as_null=False).drop_nulls().value_counts(sort=True)
    return dict(counted.iter_rows())

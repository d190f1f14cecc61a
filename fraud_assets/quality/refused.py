"""Refused rows read again for the report: typed where they can be, and examples of what was wrong, masked."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from fraud_core.contracts import Contract, mask_value, parse_json
from fraud_core.errors import SpearheadError

_LONG_NUMBER = re.compile(r"(?:[0-9][ -]?){11,}[0-9]")
_EXAMPLES = 3
_WIDTH = 48

Unseal = Callable[[bytes], bytes]


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


def read_refused(contract: Contract, quarantined: pl.DataFrame, unseal: Unseal, limit: int) -> Refused:
    """Read violations of a quarantine table; `unseal` gives the bytes back or raises SpearheadError."""
    violations = quarantined
    if "kind" in quarantined.columns:
        violations = quarantined.filter(pl.col("kind") == "violation")
    read = violations.head(limit)
    payloads = [_open(payload, unseal) for payload in _column(read, "payload")]
    parsed = parse_json(contract, [payload or b"" for payload in payloads])
    typed = [
        row
        for row, payload in enumerate(payloads)
        if payload is not None and not any(_is_unreadable(code) for code in parsed.found.get(row, ()))
    ]
    frame = parsed.frame[typed]
    if "known_at" in read.columns:
        frame = frame.with_columns(read["known_at"][typed])
    reasons: list[list[str]] = read["reasons"].to_list()
    return Refused(
        count=violations.height,
        counts=_counts(violations["reasons"]),
        known_at=violations["known_at"] if "known_at" in violations.columns else None,
        typed=frame,
        typed_counts=_counts(read["reasons"][typed]),
        examples=_examples(contract, payloads, reasons),
        unreadable=sum(payload is None for payload in payloads),
    )


def _is_unreadable(code: str) -> bool:
    return code == "row.unparseable" or code.endswith(".type")


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


def _examples(
    contract: Contract, payloads: list[bytes | None], reasons: list[list[str]]
) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for payload, codes in zip(payloads, reasons, strict=True):
        if payload is None or all(len(found.get(code, ())) >= _EXAMPLES for code in codes):
            continue
        event = _event(payload)
        for code in codes:
            shown = found.setdefault(code, {})
            if len(shown) < _EXAMPLES:
                shown[_example(contract, code, event, payload)] = None
    return {code: tuple(shown) for code, shown in found.items()}


def _event(payload: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(payload.decode())
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _example(contract: Contract, code: str, event: dict[str, Any] | None, payload: bytes) -> str:
    if event is None:
        return f"{len(payload)} bytes"
    if code == "row.unknown_field":
        return ", ".join(_shown(name) for name in sorted(event.keys() - contract.by_name.keys()))
    if code.startswith("rule."):
        rule = next((each for each in contract.rules if f"rule.{each.name}" == code), None)
        names = sorted(rule.expression.fields) if rule is not None else []
        return ", ".join(f"{name} = {_value(contract, name, event)}" for name in names)
    name = code.rpartition(".")[0]
    return _value(contract, name, event) if name in contract.by_name else f"{len(payload)} bytes"


def _value(contract: Contract, name: str, event: dict[str, Any]) -> str:
    value = event.get(name)
    return "absent" if value is None else _shown(mask_value(contract, name, value))


def _shown(text: str) -> str:
    """Cut to a width, long numbers hidden: whatever stands in a wrong place could be personal."""
    hidden = _LONG_NUMBER.sub("•••", text)
    return hidden if len(hidden) <= _WIDTH else hidden[: _WIDTH - 1] + "…"

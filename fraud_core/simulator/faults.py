"""Events that are wrong on purpose, each with a record of what was done to it and what must become of it.

A fault never replaces a good event: it is sent in addition, so that every good event is still there to be counted.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from fraud_core.simulator.rhythm import HOUR_MS
from fraud_core.simulator.wire import to_json

Verdict = Literal["violation", "duplicate"]
Event = dict[str, Any]
Change = Callable[[Event, int, np.random.Generator], None]


@dataclass(frozen=True)
class Fault:
    """One faulty event as it is sent."""

    kind: str
    verdict: Verdict
    reason: str
    """Reason code of the violation; empty for a duplicate."""
    payload: bytes
    event_id: str | None
    """Id that the payload shows, None where it shows none."""
    known_ms: int
    account: str
    """Account of the event it was made from: what it is routed by."""


def _set(name: str, value: Any) -> Change:
    def change(event: Event, _known_ms: int, rng: np.random.Generator) -> None:
        event[name] = value(rng) if callable(value) else value

    return change


def _drop(event: Event, _known_ms: int, _rng: np.random.Generator) -> None:
    del event["account_id"]


def _ahead(event: Event, known_ms: int, rng: np.random.Generator) -> None:
    ahead = np.datetime64(known_ms + int(rng.integers(2, 200)) * HOUR_MS, "ms")
    event["event_ts"] = f"{ahead}Z"


def _present_online(event: Event, _known_ms: int, _rng: np.random.Generator) -> None:
    event["channel"], event["card_present"] = "ecom", True


def _card_number(rng: np.random.Generator) -> str:
    """A number that passes the Luhn check, of a range that no issuer uses."""
    digits = [9, 9, 9, 9, *(int(digit) for digit in rng.integers(0, 10, 11))]
    total = sum(d if place % 2 else (2 * d - 9 * (d > 4)) for place, d in enumerate(digits))
    return "".join(map(str, digits)) + str(-total % 10)


_CHANGES: Final[dict[str, tuple[str, Change]]] = {
    "missing_field": ("account_id.required", _drop),
    "null_field": ("merchant_id.required", _set("merchant_id", None)),
    "text_for_number": ("amount_minor.type", _set("amount_minor", "12.50")),
    "fraction_for_integer": ("amount_minor.type", _set("amount_minor", 12.5)),
    "number_for_text": ("merchant_category.type", _set("merchant_category", 5411)),
    "negative_amount": (
        "amount_minor.minimum",
        _set("amount_minor", lambda rng: -int(rng.integers(1, 9_999))),
    ),
    "unknown_channel": ("channel.enum", _set("channel", "telepathy")),
    "unknown_currency": ("currency.enum", _set("currency", "XQQ")),
    "bad_category": ("merchant_category.pattern", _set("merchant_category", "54A1")),
    "bad_time": ("event_ts.type", _set("event_ts", "yesterday, about noon")),
    "future_time": ("event_ts.future", _ahead),
    "card_number": ("card_id.card_number", _set("card_id", _card_number)),
    "unknown_field": ("row.unknown_field", _set("loyalty_tier", "gold")),
    "off_the_map": ("latitude.maximum", _set("latitude", 123.4)),
    "present_online": ("rule.card_absent_online", _present_online),
}
_BROKEN: Final = ("truncated", "not_text", "not_an_object")
_SENT_AGAIN: Final = ("sent_again", "sent_again_changed")
KINDS: Final = (*_CHANGES, *_BROKEN, *_SENT_AGAIN)
# Repeats are the commonest fault of real producers.
_WEIGHTS: Final = np.array([1.0] * (len(_CHANGES) + len(_BROKEN)) + [9.0, 3.0])


def draw_faults(
    rng: np.random.Generator, rows: pl.DataFrame, share: float, mark: str, until_ms: int
) -> list[Fault]:
    """Faulty events made from a `share` of these rows (which carry `_virtual_ms`), in order of their arrival.

    `mark` makes the ids of new events; nothing arrives after `until_ms`.
    """
    chosen = np.sort(rng.choice(rows.height, rng.binomial(rows.height, share), replace=False))
    picked = rows[chosen]
    kinds = rng.choice(len(KINDS), len(chosen), p=_WEIGHTS / _WEIGHTS.sum())
    faults = []
    for number, (payload, known_ms, kind) in enumerate(
        zip(to_json(picked), picked["_virtual_ms"].to_list(), kinds, strict=True)
    ):
        # A retry comes after its first copy; a fault of its own comes at any time about then.
        known = min(known_ms + int(rng.exponential(90_000)) + 1, until_ms)
        faults.append(_make(rng, KINDS[kind], payload, f"{mark}-x{number:05d}", known))
    return sorted(faults, key=lambda fault: fault.known_ms)


def _make(rng: np.random.Generator, kind: str, payload: bytes, new_id: str, known_ms: int) -> Fault:
    event: Event = json.loads(payload)
    account, original_id = event["account_id"], event["transaction_id"]
    if kind == "sent_again":
        return Fault(kind, "duplicate", "", payload, original_id, known_ms, account)
    if kind == "sent_again_changed":
        event["amount_minor"] += 1
        event["amount_base_minor"] += 1
        reason = "transaction_id.duplicate_other_body"
        return Fault(kind, "violation", reason, _dump(event), original_id, known_ms, account)
    event["transaction_id"] = new_id
    if kind in _CHANGES:
        reason, change = _CHANGES[kind]
        change(event, known_ms, rng)
        if kind == "off_the_map" and event["longitude"] is None:
            event["longitude"] = 0.0
        return Fault(kind, "violation", reason, _dump(event), new_id, known_ms, account)
    broken = {
        "truncated": _dump(event)[: int(rng.integers(20, 200))],
        "not_text": b"\xff\xfe\x00" + bytes(rng.integers(128, 256, 40, dtype=np.uint8)),
        "not_an_object": b'["transaction", 42]',
    }[kind]
    return Fault(kind, "violation", "row.unparseable", broken, None, known_ms, account)


def _dump(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()

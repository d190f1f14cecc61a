"""From an event's bytes to a submission, as strictly as ingestion reads: what the lake will quarantine is not scored.

The bytes come from anybody; whatever they are, nothing is raised but the two errors here.
"""

import json
import sys
from collections import Counter
from typing import Any

from fraud_core.contracts import Contract, Violation, check_event
from fraud_core.contracts.rules import REPEATED_FIELD
from fraud_core.errors import ServingError
from fraud_serving.scoring.submission import Submission, submit

_NAMES_SHOWN = 5
_TOO_LONG = f"a whole number has more than {sys.get_int_max_str_digits():,} digits"
"""Python's own words name a call of its own to make."""


class NotJson(ServingError):
    """The bytes are no JSON in UTF-8, or nested deeper than any event."""


class ContractBroken(ServingError):
    """The event breaks promises of its contract: `violations`."""

    def __init__(self, violations: list[Violation]) -> None:
        codes = ", ".join(violation.code for violation in violations)
        super().__init__(f"{len(violations)} violation(s): {codes}.")
        self.violations = violations


def read_submission(
    contract: Contract, payload: bytes, *, known_ms: int, trace_id: str, received: float
) -> Submission:
    """One event that keeps the contract. Raises NotJson, ContractBroken."""
    try:
        event, repeated = _read(payload)
        violations = check_event(contract, event, known_ms)
        if repeated:
            violations = [Violation(REPEATED_FIELD, None, _again(repeated)), *violations]
        if violations:
            raise ContractBroken(violations)
        return submit(contract, event, trace_id, received)
    except RecursionError:
        raise NotJson("Expected one flat JSON object, found values nested too deep to read.") from None
    except (ValueError, OverflowError) as error:
        words = _TOO_LONG if "integer string conversion" in str(error) else str(error)
        raise NotJson(f"Expected JSON in UTF-8: {words}. See /docs for an example.") from None


def _read(payload: bytes) -> tuple[Any, list[str]]:
    """The value, and the names that an object gives to several of its own fields."""
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        event = dict(items)
        repeated.clear()  # of the outermost object, which is the last to be built, and the only one that is the event
        if len(event) != len(items):
            repeated.extend(name for name, count in Counter(name for name, _ in items).items() if count > 1)
        return event

    return json.loads(payload.decode(), object_pairs_hook=pairs, parse_constant=_refuse), repeated


def _again(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_NAMES_SHOWN])
    return f"expected: no field is given twice; found again: {shown}"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")

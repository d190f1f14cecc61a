"""Setting events aside: marked with who and why, never deleted. How long quarantine keeps its rows is the upkeep's matter."""

from dataclasses import replace

from fraud_assets.lake import Lake
from fraud_assets.quarantine.audit import DISCARDED, IDENTITY, Act, Audit
from fraud_assets.quarantine.selection import Selection, find
from fraud_core.errors import CommitRefused, SettingsError

_ATTEMPTS = 5


def discard(lake: Lake, selection: Selection, actor: str, because: str) -> int:
    """Mark the open rows of the selection as discarded; how many were. Repeating it marks nothing twice."""
    if not because.strip():
        raise SettingsError(
            'The reason for discarding events was expected (--because "…"); it goes into the audit. None was given.'
        )
    act, audit = Act.by(actor, "discard", because), Audit(lake)
    for attempt in range(_ATTEMPTS):
        rows = find(lake, replace(selection, state="all"), audit)
        rows = rows.filter(state="open") if rows.height else rows
        if not rows.height:
            return 0
        try:
            audit.intend(act, DISCARDED, rows.select(*IDENTITY, replay_of="root"))
        except CommitRefused:
            if attempt + 1 == _ATTEMPTS:
                raise
            continue
        return rows.height
    return 0

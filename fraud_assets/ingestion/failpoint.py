"""Failpoints: named steps of ingestion at which a drill can kill the process, as a power cut would.

Armed only through the settings (`SPEARHEAD_FAILPOINT=after_quarantine_commit:3` dies at the third pass); otherwise
passing one costs a function call.
"""

import os
import signal
from collections.abc import Callable, Collection
from typing import Final

from fraud_core.errors import SettingsError

FAILPOINTS: Final = (
    "after_plan",
    "after_read",
    "after_judge",
    "after_quarantine_commit",
    "between_main_commits",
    "after_main_commit",
    "after_ledger_commit",
    "after_trim",
    "after_report",
    "after_compaction",
)
STATE_FAILPOINTS: Final = (
    "state_leased",
    "state_planned",
    "state_part_written",
    "state_folded",
    "state_followed",
    "state_fenced",
    "state_drained",
    "state_recorded",
    "state_flipped",
    "state_closed",
    "state_swept",
)
"""Steps of a rebuild of the online state."""
Failpoint = Callable[[str], None]


def armed(spec: str, names: Collection[str] = FAILPOINTS) -> Failpoint:
    """The failpoint function that settings ask for: name[:count] of one of `names`, or nothing."""
    if not spec:
        return _pass
    name, _, count = spec.partition(":")
    if name not in names or not (count or "1").isdigit():
        raise SettingsError(
            f"SPEARHEAD_FAILPOINT was expected to be name[:count] with a name of {', '.join(names)}; it is {spec!r}. "
            "Unset it outside of fault drills."
        )
    left = int(count or "1")

    def hit(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hit


def _pass(_: str) -> None:
    return

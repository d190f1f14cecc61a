"""Quarantine as a place to work: find events that were refused, look at them, bring them back repaired, or set them aside.

selection (which rows, in what state) ─▶ view (masked) | replaying (mapping ▸ judge ▸ log) | discarding ─▶ audit
Nothing here changes a row of quarantine or of a main table: what comes back comes through the log and its gate.
"""

from fraud_assets.quarantine.audit import AUDIT, Audit
from fraud_assets.quarantine.discarding import discard
from fraud_assets.quarantine.mapping import Mapping, load_mapping
from fraud_assets.quarantine.replaying import ReplayResult, replay
from fraud_assets.quarantine.selection import Selection, find
from fraud_assets.quarantine.states import StateCounts, state_counts

__all__ = [
    "AUDIT",
    "Audit",
    "Mapping",
    "ReplayResult",
    "Selection",
    "StateCounts",
    "discard",
    "find",
    "load_mapping",
    "replay",
    "state_counts",
]

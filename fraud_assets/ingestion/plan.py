"""What to do next with a shard: one pure function over what the tables have committed and where the log ends.

The version that a table records for a shard is the shard's committed end offset. Tables are committed in a fixed order,
quarantine first and ledger last, so versions fall along that order; where they differ, the range between is unfinished
and comes before anything new. Neither a cursor nor a run's memory takes part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fraud_core.errors import LakeError, LostRange


@dataclass(frozen=True)
class Plan:
    """A range (start, end] of a shard and the tables that still lack it."""

    start: int
    end: int
    """Of an unjudged plan: the furthest it may reach; the micro-batch may end earlier."""
    pending: tuple[str, ...]
    """Tables to commit, in order."""
    judged: bool
    """Whether quarantine holds the verdicts already; then they are read from it, and the range is exactly this one."""


def next_plan(
    committed: Mapping[str, int], order: Sequence[str], log_end: int, *, shard: str = ""
) -> Plan | None:
    """The next plan of a shard, or None when everything in the log is in the lake.

    `order` names the tables as they are committed, quarantine first, ledger last; `committed` has each one's version
    for the shard (0: none); `log_end` is the offset of the log's last entry (0: none). Raises LakeError when the
    versions contradict the protocol, LostRange when the log ends before what was committed from it.
    """
    judged, done = committed[order[0]], committed[order[-1]]
    versions = [committed[name] for name in order]
    allowed = [judged] * versions.count(judged) + [done] * (len(order) - versions.count(judged))
    if versions != allowed or done > judged:
        held = ", ".join(f"{name} at {committed[name]}" for name in order)
        raise LakeError(
            f"The tables of shard {shard} were expected to be committed in the order {' → '.join(order)}, each range in "
            f"all before the next; found {held}. A table was restored, replaced or written by something else: restore "
            "all of them to one point in time. Nothing was written."
        )
    if judged > done:
        pending = tuple(name for name in order if committed[name] < judged)
        return Plan(done, judged, pending, judged=True)
    if log_end < done:
        raise LostRange(
            f"Shard {shard} was ingested up to offset {done}, which must still be in the log; the log ends at {log_end}. "
            "It was restored from an older copy, or emptied without losing its name. What was ingested is safe in the "
            "lake; have the producers send again what the log lost, under a new SPEARHEAD_NAMESPACE. Nothing was skipped."
        )
    if log_end > done:
        return Plan(done, log_end, tuple(order), judged=False)
    return None

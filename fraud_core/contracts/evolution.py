"""Whether a contract may follow another: what the data was written under decides what may be written next.

nothing changed, or only words      goes on
looser rules, new optional fields   go on, when the version says so (minor)
stricter rules, new required fields are refused, unless a person accepts them under a new major version
fields gone, renamed or retyped,    are refused: rows already written could not be read under it, and need a lake
another key, role or entity         of their own
"""

from dataclasses import dataclass
from typing import Literal

from fraud_core.contracts.compare import Change, compare, version_suffices
from fraud_core.contracts.model import Contract

Verdict = Literal["same", "goes on", "to be accepted", "refused"]


@dataclass(frozen=True)
class Evolution:
    """One contract after another, and what becomes of it."""

    old: Contract
    new: Contract
    changes: tuple[Change, ...]
    verdict: Verdict

    @property
    def allowed(self) -> bool:
        """Whether data may be written under the new contract without anybody's word."""
        return self.verdict in {"same", "goes on"}

    @property
    def difference(self) -> str:
        """The changes, a line each."""
        return "\n".join(f"  {change.level}: {change.words}" for change in self.changes)

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.verdict == "to be accepted":
            return (
                "Stored rows stay readable, but promises became stricter: once the producers keep them, accept version "
                f"{self.new.version} with `spearhead contracts accept {self.new.name} --approver NAME --reason TEXT`."
            )
        if self.verdict == "refused" and _numbers(self.new) < _numbers(self.old):
            return (
                f"The data is ahead of this process: give it the contracts folder with version {self.old.version} "
                "(SPEARHEAD_CONTRACTS). A version is never taken back; publish the older promises under a higher number."
            )
        if self.verdict == "refused" and any(change.structural for change in self.changes):
            return (
                "Rows already written could not be read under it. Keep the field and add another beside it (optional, minor version), "
                "or give the new contract a lake and a log of its own (SPEARHEAD_LAKE, SPEARHEAD_NAMESPACE)."
            )
        if self.verdict == "refused":
            level = self.changes[0].level
            return f"Raise the {level} number of its version ({self.old.version} is what the data was written under)."
        return ""


def evolution(old: Contract, new: Contract) -> Evolution:
    """Judge `new` after `old`, the version that data was last written under."""
    changes = tuple(compare(old, new))
    if not changes:
        verdict: Verdict = "same" if old.version == new.version else "goes on"
        return Evolution(old, new, changes, verdict if _numbers(new) >= _numbers(old) else "refused")
    level = changes[0].level
    said = level == "patch" or version_suffices(old.version, new.version, level)
    verdict = "goes on" if said else "refused"
    if level == "major" and said:
        verdict = "refused" if any(change.structural for change in changes) else "to be accepted"
    return Evolution(old, new, changes, verdict)


def _numbers(contract: Contract) -> tuple[int, ...]:
    return tuple(map(int, contract.version.split(".")))

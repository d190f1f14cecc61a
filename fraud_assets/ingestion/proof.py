"""What `verify` found, per stream and in all."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import polars as pl

from fraud_core.log import id_hash_sum

_MASK: Final = (1 << 64) - 1


@dataclass
class StreamProof:
    """What was found of one stream; events are counted, not entries."""

    events: int = 0
    """In the ledger, that is: finished."""
    valid: int = 0
    duplicates: int = 0
    quarantined: int = 0
    pending: int = 0
    """In the log and not finished yet."""
    lost: int = 0
    duplicated: int = 0
    replayed: int = 0
    """Finished or pending events that were brought back from quarantine: their producer sent, and counted, the first copy only."""
    ids: int = 0
    """Finished or pending events with a readable id, without those brought back, and the sum of the hashes of those ids."""
    id_hash_sum: int = 0

    def add_ids(self, ids: pl.Series) -> None:
        """Count readable ids."""
        known = ids.drop_nulls()
        self.add_sum(len(known), id_hash_sum(known.to_list()))

    def add_sum(self, ids: int, hash_sum: int) -> None:
        """Count ids that are known by their number and sum alone."""
        self.ids += ids
        self.id_hash_sum = (self.id_hash_sum + hash_sum) & _MASK


@dataclass
class VerifyResult:
    """The whole proof; `ok` when there is nothing to explain."""

    streams: dict[str, StreamProof] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unlogged_updates: dict[str, int] = field(default_factory=dict)
    """Updates of the online state without a decision in the lake, per entity kind; while decisions are pending they
    may still come."""

    def total(self, name: str) -> int:
        """Sum of a count over the streams."""
        return sum(getattr(proof, name) for proof in self.streams.values())

    @property
    def events(self) -> int:
        return self.total("events")

    @property
    def valid(self) -> int:
        return self.total("valid")

    @property
    def duplicates(self) -> int:
        return self.total("duplicates")

    @property
    def quarantined(self) -> int:
        return self.total("quarantined")

    @property
    def pending(self) -> int:
        return self.total("pending")

    @property
    def replayed(self) -> int:
        return self.total("replayed")

    @property
    def lost(self) -> int:
        return self.total("lost")

    @property
    def duplicated(self) -> int:
        return self.total("duplicated")

    @property
    def ok(self) -> bool:
        return not (self.problems or self.lost or self.duplicated)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("events", "valid", "duplicates", "quarantined", "pending", "replayed", "lost", "duplicated")
        return {
            **{name: self.total(name) for name in names},
            "ok": self.ok,
            "problems": self.problems,
            "unlogged_updates": self.unlogged_updates,
            "streams": {
                name: {**asdict(proof), "id_hash_sum": f"{proof.id_hash_sum:016x}"}
                for name, proof in self.streams.items()
            },
        }

"""The verdict on a batch: every event is valid, a violation with its reasons, or a duplicate."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud_assets.ingestion.decisions import inner_violations
from fraud_assets.ingestion.reading import Batch
from fraud_assets.ingestion.replays import NO_ORIGIN, REPLAYED_BEFORE, without_origin
from fraud_assets.ingestion.uniqueness import DUPLICATE, OTHER_BODY, Identities, UniquenessWindow
from fraud_core.contracts import Contracts, judge
from fraud_core.errors import LakeError

VIRTUAL_TIME: Final = "row.virtual_time"
OTHER_BODY_RULE: Final = "duplicate_other_body"


Violations: TypeAlias = Mapping[int, tuple[str, ...]]
"""Reasons by row, of the events that break their contract."""


@dataclass(frozen=True)
class Verdicts:
    """What became of each event of a batch; positions are rows of the batch."""

    valid: NDArray[np.bool_]
    violations: Violations
    duplicates: NDArray[np.int64]
    """Rows that repeat an event, body and all."""

    @property
    def counts(self) -> dict[str, int]:
        """Violating events per reason code."""
        counted: Counter[str] = Counter()
        for codes in self.violations.values():
            counted.update(codes)
        return dict(counted)


def judge_alone(contracts: Contracts, batch: Batch) -> Violations:
    """Judge every event by its contract: what can be said of a batch without any other."""
    contract = contracts.for_stream(batch.shard.stream)
    violations = dict(judge(contract, batch.rows, batch.known_ms, batch.found).reasons)
    for row in np.flatnonzero(batch.early).tolist():
        violations[row] = (VIRTUAL_TIME, *violations.get(row, ()))
    if batch.inner is not None:
        for row, codes in inner_violations(contracts, batch.rows, batch.inner, batch.known_ms).items():
            violations[row] = (*violations.get(row, ()), *codes)
    for row in without_origin(batch):
        violations[row] = (NO_ORIGIN, *violations.get(row, ()))
    return violations


def judge_batch(
    contracts: Contracts,
    batch: Batch,
    window: UniquenessWindow,
    copies: Mapping[int, bool] | None = None,
    alone: Violations | None = None,
) -> Verdicts:
    """Judge every event by its contract (`alone`, when that is done already), then those that keep it by whether they
    were seen before.

    `copies` names the rows brought back from quarantine of which the table holds another copy, and whether it has the same body.
    """
    contract = contracts.for_stream(batch.shard.stream)
    violations = dict(judge_alone(contracts, batch) if alone is None else alone)
    again = {row: same for row, same in (copies or {}).items() if row not in violations}
    violations |= {row: (REPLAYED_BEFORE,) for row, same in again.items() if not same}
    keeps = np.ones(len(batch), dtype=np.bool_)
    keeps[[*violations, *again]] = False
    # Here and not ahead: reading and judging take as long as committing, so either thread has its half.
    seen = window.judge(Identities.of(contract, batch.rows), keeps)
    seen[[row for row, same in again.items() if same]] = DUPLICATE
    for row in np.flatnonzero(seen == OTHER_BODY).tolist():
        violations[row] = (f"{contract.event_id}.{OTHER_BODY_RULE}",)
    duplicates = np.flatnonzero(seen == DUPLICATE)
    valid = keeps & (seen != OTHER_BODY) & (seen != DUPLICATE)
    return Verdicts(valid, violations, duplicates)


def recorded_verdicts(batch: Batch, quarantined: pl.DataFrame) -> Verdicts:
    """The verdicts that quarantine holds for exactly this batch: whatever it does not name was found valid."""
    origins = pl.DataFrame({"_offset": batch.offsets, "_index": batch.indexes}).with_row_index("row")
    found = quarantined.join(origins, on=["_offset", "_index"], how="left").sort("row")
    if found["row"].null_count():
        raise LakeError(
            f"Quarantine of {batch.shard} names {found['row'].null_count()} events between {batch.start} and {batch.end} that "
            "were expected in the log and are not there: quarantine or log was restored or altered. Restore both to one "
            "point in time. Nothing was written."
        )
    valid = np.ones(len(batch), dtype=np.bool_)
    violations: dict[int, tuple[str, ...]] = {}
    duplicates: list[int] = []
    for row, kind, reasons in found.select("row", "kind", "reasons").iter_rows():
        valid[row] = False
        if kind == "duplicate":
            duplicates.append(row)
        else:
            violations[row] = tuple(reasons or ())
    return Verdicts(valid, violations, np.array(duplicates, dtype=np.int64))

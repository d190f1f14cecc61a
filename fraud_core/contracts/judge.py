"""The verdict on a batch: which rows keep every promise, and for the others the reason codes.

Clean batches pay one boolean per rule and row; codes are worked out for the bad rows alone. The time by which "in the
future" is judged comes with each row (`known_ms`), so every reader and every retry gives the same verdict.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from fraud_core.contracts.model import Contract
from fraud_core.contracts.rules import KNOWN_MS, UNREADABLE
from fraud_core.contracts.screen import WORTH_IT, suspects

Reasons = Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class Verdict:
    """What became of each row; `reasons` holds the violating rows only, by their position."""

    height: int
    reasons: Reasons

    @cached_property
    def valid(self) -> pl.Series:
        """One boolean per row: true where every promise is kept."""
        mask = np.ones(self.height, dtype=bool)
        mask[self.violating] = False
        return pl.Series("valid", mask)

    @cached_property
    def violating(self) -> npt.NDArray[np.int64]:
        """Positions of the violating rows, ascending."""
        return np.array(sorted(self.reasons), dtype=np.int64)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Violating rows per reason code."""
        counted: Counter[str] = Counter()
        for codes in self.reasons.values():
            counted.update(codes)
        return dict(counted)


def judge(
    contract: Contract,
    rows: pl.DataFrame,
    known_ms: pl.Series | npt.NDArray[np.int64] | Sequence[int],
    found: Reasons | None = None,
) -> Verdict:
    """Judge rows against every rule that needs no other batch.

    `rows` has the contract's columns; `known_ms` is per row the time at which it became known (epoch ms); `found`
    are the reasons that reading it gave (`Parsed.found`), which are merged in.
    """
    checks = [(each.code, each.violated) for each in contract.checks if each.violated is not None]
    frame = rows.with_columns(pl.Series(KNOWN_MS, known_ms, dtype=pl.Int64))
    screens = contract.screens if rows.height >= WORTH_IT else ()
    screened = set().union(*(each.codes for each in screens))
    whole = [violated for code, violated in checks if code not in screened]
    broken = frame.select(pl.any_horizontal(whole).alias("broken"))["broken"].fill_null(False)
    if screens:
        broken |= pl.Series(suspects(screens, rows))
    index = broken.arg_true()
    reasons: dict[int, tuple[str, ...]] = {}
    if index.len():
        flags = frame[index].select(violated.fill_null(False).alias(code) for code, violated in checks)
        reasons = _codes(index.to_numpy(), flags)
    if found:
        merge = _Merge(contract)
        for row, codes in found.items():
            reasons[row] = merge(codes, reasons.get(row, ()))
    return Verdict(rows.height, reasons)


class _Merge:
    """Joins the reasons of one row from reading and judging it: a value of a wrong type is neither missing, nor compared
    with others."""

    def __init__(self, contract: Contract) -> None:
        self._order = {each.code: place for place, each in enumerate(contract.checks)}
        self._moot: dict[str, set[str]] = {f"{name}.type": {f"{name}.required"} for name in contract.by_name}
        for rule in contract.rules:
            for name in rule.expression.fields:
                self._moot[f"{name}.type"].add(f"rule.{rule.name}")

    def __call__(self, found: tuple[str, ...], judged: tuple[str, ...]) -> tuple[str, ...]:
        for code in UNREADABLE:
            if code in found:
                return (code,)
        moot = set().union(*(self._moot[code] for code in found if code in self._moot))
        return tuple(sorted({*found, *judged} - moot, key=self._order.__getitem__))


def _codes(index: npt.NDArray[np.uint32], flags: pl.DataFrame) -> dict[int, tuple[str, ...]]:
    """Row to codes; equal combinations share one tuple, so that a batch that is all bad costs little more."""
    packed = np.packbits(np.column_stack([column.to_numpy() for column in flags]), axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    combinations = [
        tuple(code for code, flag in zip(flags.columns, flags.row(int(row)), strict=True) if flag)
        for row in first
    ]
    # A row that was only suspected has no code.
    return {
        row: combinations[kind]
        for row, kind in zip(index.tolist(), inverse.tolist(), strict=True)
        if combinations[kind]
    }

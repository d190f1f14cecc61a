"""Which version of each contract the lake was last written under, kept in the lake: a row per version that came into force.

Ingestion asks here before it writes anything. What may follow by itself is recorded, what may not is refused with the
difference; a stricter contract needs a person's word, which stays in the row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from fraud_assets.lake.lake import Lake
from fraud_assets.lake.schemas import UTC_MICROSECONDS
from fraud_core.contracts import Contract, Evolution, canonical, evolution, from_canonical
from fraud_core.errors import CommitRefused, ContractError

CONTRACTS: Final = "contracts"
BY_ITSELF: Final = "ingestion"
_SCHEMA: Final[dict[str, pl.DataType]] = {
    "contract": pl.String(),
    "place": pl.Int64(),
    "version": pl.String(),
    "document": pl.String(),
    "changes": pl.List(pl.String()),
    "accepted_at": UTC_MICROSECONDS,
    "accepted_by": pl.String(),
    "reason": pl.String(),
}
_ATTEMPTS = 5


@dataclass(frozen=True)
class Accepted:
    """A contract as it came into force; `place` counts the versions of a contract from 1."""

    contract: Contract
    document: str
    place: int


def accepted(lake: Lake, name: str) -> Accepted | None:
    """The contract that the lake was last written under; None before the first write."""
    return _latest(lake, [name]).get(name) if lake.exists(CONTRACTS) else None


def history(lake: Lake) -> pl.DataFrame:
    """Every version that came into force, the oldest first."""
    if not lake.exists(CONTRACTS):
        return pl.DataFrame(schema=_SCHEMA)
    return lake.scan(CONTRACTS).collect().sort("contract", "place")


def check_contracts(lake: Lake, contracts: Iterable[Contract]) -> list[Contract]:
    """Those of `contracts` that are not yet on record, for `record_contracts` once the tables hold their columns.

    Raises ContractError with every difference when one may not follow what the lake was written under; nothing was
    written then.
    """
    every = list(contracts)
    latest = _latest(lake, [each.name for each in every]) if lake.exists(CONTRACTS) else {}
    fresh: list[Contract] = []
    refused: list[Evolution] = []
    for contract in every:
        held = latest.get(contract.name)
        if held is not None and held.document == canonical(contract):
            continue
        if held is not None and not (found := evolution(held.contract, contract)).allowed:
            refused.append(found)
        fresh.append(contract)
    if refused:
        raise ContractError("\n".join(refusal(each) for each in refused) + "\nNothing was written.")
    return fresh


def refusal(found: Evolution) -> str:
    """Why a contract may not follow, with the difference and what to do."""
    return (
        f"The contract {found.new.name} {found.new.version} ({found.new.path}) was expected to go on from version "
        f"{found.old.version}, under which the lake was last written; it breaks it:\n{found.difference}\n{found.advice}"
    )


def record_contracts(
    lake: Lake, contracts: Iterable[Contract], by: str = BY_ITSELF, reason: str = ""
) -> None:
    """Put contracts on record as being in force from now on; one that is on record already is passed over."""
    lake.create(CONTRACTS, _SCHEMA)
    for contract in contracts:
        _record(lake, contract, by, reason)


def accept_contract(lake: Lake, contract: Contract, approver: str, reason: str) -> Evolution | None:
    """Put a stricter contract in force on a person's word. None when it is in force already.

    Raises ContractError when it may follow by itself (nothing to accept) or may not follow at all.
    """
    held = accepted(lake, contract.name)
    if held is None or held.document == canonical(contract):
        return None
    found = evolution(held.contract, contract)
    if found.verdict == "refused":
        raise ContractError(refusal(found) + "\nNothing was written.")
    record_contracts(lake, [contract], approver, reason)
    return found


def _record(lake: Lake, contract: Contract, by: str, reason: str) -> None:
    document = canonical(contract)
    for _ in range(_ATTEMPTS):
        table = lake.table(CONTRACTS)
        held = _latest(lake, [contract.name]).get(contract.name)
        if held is not None and held.document == document:
            return
        changes = [each.words for each in evolution(held.contract, contract).changes] if held else []
        place = 1 if held is None else held.place + 1
        row = [(contract.name, place, contract.version, document, changes, datetime.now(UTC), by, reason)]
        try:
            lake.append(
                table, pl.DataFrame(row, schema=_SCHEMA, orient="row"), {f"contract/{contract.name}": place}
            )
        except CommitRefused:
            continue  # another run recorded one just now: look again
        return
    raise CommitRefused(
        f"The contract {contract.name} could not be put on record: others wrote to {lake.uri_of(CONTRACTS)} {_ATTEMPTS} times "
        "first. Try again."
    )


def _latest(lake: Lake, names: list[str]) -> dict[str, Accepted]:
    rows = (
        lake.scan(CONTRACTS)
        .filter(pl.col("contract").is_in(names))
        .select("contract", "place", "document")
        .collect()
        .sort("place")
    )
    return {
        name: Accepted(from_canonical(document), document, place)
        for name, place, document in rows.iter_rows()
    }

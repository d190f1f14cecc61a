"""Contracts that the tests of this room share."""

from pathlib import Path

import pytest

from fraud_core.contracts import Contract, Contracts, load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS

NOW_MS = 1_788_266_100_000


@pytest.fixture(scope="session")
def contracts() -> Contracts:
    """The packaged contracts."""
    return load_contracts(PACKAGED_CONTRACTS)


@pytest.fixture(scope="session")
def transactions(contracts: Contracts) -> Contract:
    """The packaged contract of transactions."""
    return contracts.transactions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged contracts to break."""
    copy = tmp_path / "contracts"
    copy.mkdir()
    for path in PACKAGED_CONTRACTS.glob("*.odcs.yaml"):
        (copy / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return copy

"""Events to ingest, and a lake that is empty."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fraud_assets.lake import Lake, open_lake
from fraud_core.contracts import Contracts, load_contracts
from fraud_core.settings import PACKAGED_CONTRACTS, Settings

MakeEvent = Callable[..., bytes]


STORES = (
    "path",
    # A second of CPU and more a test, in the store's own process: with the long drills.
    pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.slow]),
)
"""The lake on the local disk, and in a real S3 server: for modules that say `ON_EVERY_STORE = True`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if getattr(metafunc.module, "ON_EVERY_STORE", False) and "settings" in metafunc.fixturenames:
        many_commits = metafunc.function.__name__ in getattr(metafunc.module, "MANY_COMMITS", ())
        metafunc.parametrize("settings", STORES[:1] if many_commits else STORES, indirect=True)


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Settings of an empty log and an empty lake, in the store that the test is for."""
    if getattr(request, "param", "path") == "path":
        return settings
    return settings.changed(
        lake=f"s3://lake/{uuid.uuid4().hex}",
        s3_endpoint=request.getfixturevalue("object_store"),
        s3_access_key="key",
        s3_secret_key="secret",
    )


@pytest.fixture(scope="session")
def contracts() -> Contracts:
    return load_contracts(PACKAGED_CONTRACTS)


@pytest.fixture(scope="session")
def strict_contracts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged contracts, but amounts above 500 are refused."""
    folder = tmp_path_factory.mktemp("strict") / "contracts"
    shutil.copytree(PACKAGED_CONTRACTS, folder)
    path = folder / "transactions.odcs.yaml"
    text = path.read_text()
    assert "maximum: 10000000000," in text
    path.write_text(text.replace("maximum: 10000000000,", "maximum: 500,"))
    return folder


@pytest.fixture
def event(contracts: Contracts) -> MakeEvent:
    """Makes the bytes of a transaction: event(number, field=value, …)."""
    example = contracts.transactions.example()

    def make(number: int, **fields: Any) -> bytes:
        amount = fields.pop("amount", 100 + number)
        return json.dumps(
            {
                **example,
                "transaction_id": f"tx-{number:08d}",
                "amount_minor": amount,
                "amount_base_minor": amount,
                **fields,
            }
        ).encode()

    return make


@pytest.fixture
def decision(contracts: Contracts, event: MakeEvent) -> MakeEvent:
    """Makes the bytes of a decision about a transaction."""
    example = contracts.decisions.example()
    entities = contracts.transactions.entities

    def make(number: int, *, inner: dict[str, Any] | None = None, **fields: Any) -> bytes:
        payment = json.loads(event(number, **(inner or {})))
        seqs = dict.fromkeys(entities, number)
        return json.dumps(
            {**example, "transaction_id": f"tx-{number:08d}", "seqs": seqs, "event": payment, **fields}
        ).encode()

    return make


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(settings)

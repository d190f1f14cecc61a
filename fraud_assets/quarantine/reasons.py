"""Why an event is in quarantine, in words: each code with the promise that it names."""

from fraud_assets.ingestion.reason_codes import reason_codes
from fraud_core.contracts import Contracts


def in_words(contracts: Contracts, stream: str, code: str) -> str:
    """The promise that a code names; of a code that the contract no longer has, so much."""
    return dict(reason_codes(contracts, stream)).get(code, "no longer a promise of the contract")

"""Why an event is in quarantine, in words: each code with the promise of the contract that it names."""

from fraud_assets.ingestion.replays import NO_ORIGIN, REPLAYED_BEFORE
from fraud_assets.ingestion.verdicts import VIRTUAL_TIME
from fraud_core.contracts import Contracts

_OWN = {
    VIRTUAL_TIME: "The event's virtual time is not later than its append",
    NO_ORIGIN: "An entry that brings an event back names one event of the same stream",
    REPLAYED_BEFORE: "Of the copies of one event that were brought back, one is in the table; another body cannot follow",
    "seqs.whole_numbers": "The sequence numbers of the entities are whole numbers",
    "event.other_id": "The payment inside has the id of its decision",
}
_INNER = "event."


def in_words(contracts: Contracts, stream: str, code: str) -> str:
    """The promise that a code names; of a code that the contract no longer has, so much."""
    if code in _OWN:
        return _OWN[code]
    promised = {check.code: check.words for check in contracts.for_stream(stream).checks}
    if code in promised:
        return promised[code]
    if code.startswith(_INNER):
        inner = {check.code: check.words for check in contracts.transactions.checks}
        if code.removeprefix(_INNER) in inner:
            return f"Of the payment inside: {inner[code.removeprefix(_INNER)]}"
    return "no longer a promise of the contract"

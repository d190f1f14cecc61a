"""Every reason code that an event can be refused for, in words: the contract's, and those that only ingestion can give."""

from collections.abc import Sequence

from fraud_assets.ingestion.decisions import NOT_WHOLE, OTHER_ID, PREFIX
from fraud_assets.ingestion.replays import NO_ORIGIN, REPLAYED_BEFORE
from fraud_assets.ingestion.verdicts import VIRTUAL_TIME
from fraud_assets.lake import DECISIONS
from fraud_core.contracts import Contracts


def reason_codes(contracts: Contracts, stream: str) -> list[tuple[str, str]]:
    """Code and promise, in the order in which an event's reasons are given."""
    own = [
        (VIRTUAL_TIME, "A virtual time is never later than the append, nor before 1970"),
        (
            NO_ORIGIN,
            "An entry that brings an event back from quarantine names that one event, of the same stream",
        ),
        (
            REPLAYED_BEFORE,
            "Of the copies of an event that were brought back, no other is in the table with another body",
        ),
    ]
    own += [(check.code, check.words) for check in contracts.for_stream(stream).checks]
    if stream == DECISIONS:
        own += [
            (PREFIX + check.code, f"Of the payment within: {check.words}")
            for check in contracts.transactions.checks
            if check.rule not in {"duplicate_other_body", "unknown_framing"}
        ]
        own.append((OTHER_ID, "The payment within has the id of its decision"))
        own.append((NOT_WHOLE, "The sequence numbers of the payment's entities are whole numbers"))
    return own


def reasons_page(contracts: Contracts, streams: Sequence[str]) -> str:
    """The page docs/reason-codes.md."""
    head = (
        "# Reason codes\n\n"
        "What an event can be refused for. Quarantine (`reasons`), the table `data_quality` (`code`), the reports and the answers of the "
        "scoring API (`violations`) all name these codes. They follow from the contracts; this page is made of them by "
        "`spearhead contracts rules --markdown`, and other contracts have other codes.\n\n"
        "A code is `<field>.<rule>`, `rule.<name>` for a rule across fields, or `row.<what>` for the event as a whole. An event has all the "
        "reasons that apply, with these exceptions: what cannot be read has no other reason, and a value of a wrong type is neither "
        "missing nor compared with others. An absent optional field breaks no rule.\n"
    )
    parts = [head]
    for stream in streams:
        contract = contracts.for_stream(stream)
        rows = "\n".join(f"| `{code}` | {_cell(words)} |" for code, words in reason_codes(contracts, stream))
        parts.append(f"\n## {stream} {contract.version}\n\n| code | what was promised |\n|---|---|\n{rows}\n")
    return "".join(parts)


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")

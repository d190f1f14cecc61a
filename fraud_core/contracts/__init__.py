"""What the data promises, read from ODCS files, and everything that follows from it.

load_contracts ─▶ Contracts ─▶ Contract
    bytes ─▶ parse_json | parse_block ─▶ Parsed ─▶ judge ─▶ Verdict     many events, in frames
    dict ─▶ check_event ─▶ [Violation]                                  one event, the same verdict
"""

from fraud_core.contracts.block import VIRTUAL_MS, parse_block, parse_blocks, unreadable, write_block
from fraud_core.contracts.body import body_hash, key_of
from fraud_core.contracts.canonical import canonical, from_canonical
from fraud_core.contracts.compare import Change, compare
from fraud_core.contracts.event import Violation, check_event
from fraud_core.contracts.evolution import Evolution, evolution
from fraud_core.contracts.judge import Reasons, Verdict, judge
from fraud_core.contracts.mask import mask, mask_value
from fraud_core.contracts.model import Contract, Contracts, Field, Rule, Sla
from fraud_core.contracts.parse import Parsed, parse_json
from fraud_core.contracts.read import load_contract, load_contracts
from fraud_core.contracts.rules import UNKNOWN_FRAMING, UNREADABLE, Check
from fraud_core.contracts.times import day_number, day_text, timestamp_text, timestamp_us

__all__ = [
    "UNKNOWN_FRAMING",
    "UNREADABLE",
    "VIRTUAL_MS",
    "Change",
    "Check",
    "Contract",
    "Contracts",
    "Evolution",
    "Field",
    "Parsed",
    "Reasons",
    "Rule",
    "Sla",
    "Verdict",
    "Violation",
    "body_hash",
    "canonical",
    "check_event",
    "compare",
    "day_number",
    "day_text",
    "evolution",
    "from_canonical",
    "judge",
    "key_of",
    "load_contract",
    "load_contracts",
    "mask",
    "mask_value",
    "parse_block",
    "parse_blocks",
    "parse_json",
    "timestamp_text",
    "timestamp_us",
    "unreadable",
    "write_block",
]

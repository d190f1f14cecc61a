"""The event log: one small interface, its implementations, and the embedded server that needs no installation."""

from fraud_core.log.framing import VIRTUAL_COLUMN, block_entry, encode_block, json_entry
from fraud_core.log.manifest import Manifest, id_hash_sum, id_hashes
from fraud_core.log.open import open_log
from fraud_core.log.origin import Origin
from fraud_core.log.protocol import (
    BLOCK,
    INGEST,
    JSON,
    NO_VIRTUAL_TIME,
    SCORER,
    UNKNOWN,
    Entries,
    Entry,
    Kind,
    Log,
    Shard,
    Tally,
)

__all__ = [
    "BLOCK",
    "INGEST",
    "JSON",
    "NO_VIRTUAL_TIME",
    "SCORER",
    "UNKNOWN",
    "VIRTUAL_COLUMN",
    "Entries",
    "Entry",
    "Kind",
    "Log",
    "Manifest",
    "Origin",
    "Shard",
    "Tally",
    "block_entry",
    "encode_block",
    "id_hash_sum",
    "id_hashes",
    "json_entry",
    "open_log",
]

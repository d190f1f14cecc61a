"""Ingestion: from the log into the lake, exactly once. No Dagster here.

plan ─▶ reading ─▶ verdicts (contract, uniqueness) ─▶ rows ─▶ commit: quarantine, main tables, ledger ─▶ trim
run: plan after plan · verify: the proof that nothing was lost or doubled
"""

from fraud_assets.ingestion.commit import Commit
from fraud_assets.ingestion.proof import StreamProof, VerifyResult
from fraud_assets.ingestion.run import IngestTotals, create_tables, run_ingest
from fraud_assets.ingestion.verify import verify

__all__ = ["Commit", "IngestTotals", "StreamProof", "VerifyResult", "create_tables", "run_ingest", "verify"]

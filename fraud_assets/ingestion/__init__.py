"""Ingestion: from the log into the lake, exactly once. No Dagster here.

plan ─▶ reading ─▶ verdicts (contract, uniqueness) ─▶ rows ─▶ commit: quarantine, main tables, ledger ─▶ trim
run: plan after plan · verify: the proof that nothing was lost or doubled
"""

from fraud_assets.ingestion.commit import Commit
from fraud_assets.ingestion.run import STREAMS, IngestTotals, create_tables, run_ingest

__all__ = ["STREAMS", "Commit", "IngestTotals", "create_tables", "run_ingest"]

"""Great Expectations as a second opinion on the contract's verdict, and a report for people.

The hot path judges every batch with polars. Here the same promises, derived from the same contract, are judged again by Great
Expectations on what was admitted and on what was refused; the report says where the two agree. Importing this package
does not import Great Expectations.
"""

from fraud_assets.quality.index import write_index
from fraud_assets.quality.report import ReportResult, build_report

__all__ = ["ReportResult", "build_report", "write_index"]

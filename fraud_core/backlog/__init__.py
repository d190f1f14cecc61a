"""How far behind the log's readers are, in events: measured, shown, and complained of."""

from fraud_core.backlog.measure import Backlog, Gauge, Level, ReaderBacklog, by_reader

__all__ = ["Backlog", "Gauge", "Level", "ReaderBacklog", "by_reader"]

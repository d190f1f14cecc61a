"""A file of past events put on the log in the order of its events, in virtual time, with labels when they were reported."""

from fraud_core.replay.mapping import Mapping, load_mapping
from fraud_core.replay.replayer import Pace, Replay
from fraud_core.replay.source import open_source

__all__ = ["Mapping", "Pace", "Replay", "load_mapping", "open_source"]

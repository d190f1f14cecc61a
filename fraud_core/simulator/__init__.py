"""A synthetic world of card payments, worth learning from: people, merchants, thieves, late labels, and faults.

`World` is a pure function of its `WorldSpec`; `History` is its past, chunk by chunk; `Live` goes on from now.
"""

from fraud_core.simulator.history import Chunk, History
from fraud_core.simulator.world import SCENARIOS, World, WorldSpec

__all__ = ["SCENARIOS", "Chunk", "History", "World", "WorldSpec"]

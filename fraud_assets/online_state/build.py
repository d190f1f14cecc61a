"""What a rebuild of the online state reports: while it works, and at its end; and how fast it may go."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from fraud_assets.online_state.labels import Ends
from fraud_core.features import Rebuilt

OnStep = Callable[[str, int, int], None]
"""What is being done, how many steps of it are done, of how many."""


@dataclass(frozen=True)
class StateBuild:
    """What one rebuild did."""

    rebuilt: Rebuilt
    read_from: datetime
    ends: Ends
    """What it had read; the stream scorer goes on from what of it is on the present log."""
    dropped: int
    """Keys of replaced and abandoned epochs that were deleted."""
    replaced: int = 0
    fence_ms: float = 0.0
    """How long decisions of the old epoch were refused."""
    attempts: int = 1
    followed: int = 0
    """Decisions taken from the log, because the lake did not hold them yet."""
    resumed: bool = False
    seconds: float = 0.0

    @property
    def read_up_to(self) -> dict[str, int]:
        """`ends` by name of the shard, its life included."""
        return {shard.app_id: end for shard, end in self.ends.items()}


@dataclass
class Pace:
    """At most `rate` keys a second; 0: no limit."""

    rate: float = 0.0
    _due: float = field(default_factory=time.monotonic)

    def __call__(self, keys: int) -> None:
        if self.rate > 0:
            self._due = max(self._due, time.monotonic() - 0.1) + keys / self.rate
            time.sleep(max(0.0, self._due - time.monotonic()))


def unseen(what: str, done: int, of: int) -> None:
    """Nobody watches."""

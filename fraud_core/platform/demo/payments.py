"""Payments to score over HTTP: made by the simulator, in the same world as the history, happening now."""

import json
import time
from collections.abc import Iterator
from typing import Any

from fraud_core.simulator import World, WorldSpec
from fraud_core.simulator.live import Live
from fraud_core.simulator.wire import to_json


def live_payments(spec: WorldSpec, count: int) -> Iterator[dict[str, Any]]:
    """`count` payments, each made when it is asked for, with ids that no other run has."""
    last_ms = int(time.time() * 1000)
    live = Live(World(spec), last_ms)
    made = 0
    while made < count:
        now_ms = max(int(time.time() * 1000), last_ms + 1)
        for body in to_json(live.step(last_ms, now_ms, 1).transactions):
            if made < count:
                made += 1
                yield json.loads(body)
        last_ms = now_ms

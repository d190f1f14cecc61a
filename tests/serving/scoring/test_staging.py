"""The way to a log elsewhere, and its breaker."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from fraud_core.errors import LogUnavailable
from fraud_core.features.wire import Command
from fraud_serving.models.breaker import Breaker
from fraud_serving.scoring.claims import Claim, Claims, Standing
from fraud_serving.scoring.staging import Staging
from fraud_serving.scoring.submission import Submission
from fraud_serving.scoring.unavailable import StoreUnavailable

STAGED = (
    Submission({}, "t1", "2026-01-01T00:00:00Z", 0, b"0123456789abcdef", "0" * 32, 0.0),
    Claim(Standing.STAGED, answer=b"{}", record=b"{}"),
)


def test_a_log_that_answers_again_is_asked_again() -> None:
    now, up, sent = [0.0], [False], []
    breaker = Breaker(failures=1, retry_after_s=1.0, clock=lambda: now[0])

    async def append(records: Sequence[tuple[str, bytes]]) -> None:
        if not up[0]:
            raise LogUnavailable("down")
        sent.append(records)

    async def send(commands: Sequence[Command]) -> list[Any]:
        return [[0] for _ in commands]

    staging = Staging(append, lambda: Claims("n", None, ttl_s=60), send, breaker)

    async def log() -> None:
        staging.demand_open()
        await staging.append([STAGED])

    async def body() -> None:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await log()
        up[0] = True
        with pytest.raises(StoreUnavailable, match="not asked now"):
            await log()
        assert not await staging.settled([STAGED])
        now[0] = 2.0
        await log()
        assert not breaker.is_open
        assert sent == [[("t1", b"{}")]]

    asyncio.run(body())

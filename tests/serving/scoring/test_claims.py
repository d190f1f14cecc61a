"""Claims on a real Valkey: what a server that lost something is known by."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from fraud_core.features.handover import close_commands, gate_key
from fraud_core.features.wire import exchange
from fraud_core.settings import Settings
from fraud_serving.scoring.claims import SCRIPTS, Claim, Claims, Standing

pytestmark = pytest.mark.valkey
BODY = b"0123456789abcdef"


@pytest.fixture
def client(settings: Settings) -> Iterator[Any]:
    with redis.Redis.from_url(settings.redis_address) as opened:
        for script in SCRIPTS:
            opened.script_load(script)
        yield opened


class Process:
    """One of several that score beside each other; with `shards` None the log is elsewhere."""

    def __init__(self, client: Any, name: str, shards: int | None) -> None:
        self.client, self.name, self.staged = client, name, shards is None
        self.claims = Claims("spearhead", shards, ttl_s=60)
        self.sent = 0

    def log(self, epoch: int) -> Claim:
        self.sent += 1
        make = self.claims.stage if self.staged else self.claims.finish
        event_id = f"{self.name}-{self.sent}"
        [reply] = exchange(self.client, [make(event_id, BODY, b"{}", b"{}", epoch=epoch)])
        found = Claims.read(reply)
        if found.standing is Standing.OURS:
            self.claims.note(event_id, found, epoch)
        return found


@pytest.mark.parametrize("shards", [1, None])
def test_a_loss_is_seen_whatever_else_is_logged_meanwhile(client: Any, shards: int | None) -> None:
    mine, other = Process(client, "mine", shards), Process(client, "other", shards)
    for _ in range(3):
        assert mine.log(epoch=1).standing is Standing.OURS
    copy = client.hgetall(gate_key("spearhead", 0))
    for _ in range(2):
        assert mine.log(epoch=1).standing is Standing.OURS
    client.delete(gate_key("spearhead", 0))
    client.hset(gate_key("spearhead", 0), mapping=copy)  # the replica that takes over lacks the last two

    for _ in range(10):
        assert other.log(epoch=1).standing is Standing.OURS
        assert mine.log(epoch=0).standing is Standing.OURS, "a decision without a state misses none"
    assert mine.log(epoch=1).standing is Standing.LOST
    [counted] = exchange(client, mine.claims.gates(1))
    assert (int(counted), mine.claims.known(1)) == (3, [5])


def test_a_count_goes_once_nobody_can_be_in_its_epoch_any_more(client: Any) -> None:
    process = Process(client, "one", 1)
    for epoch in (1, 2, 3):
        process.log(epoch)
        exchange(client, close_commands("spearhead", 1, epoch))
        assert process.log(epoch).standing is Standing.FENCED, "closed, not lost"
    names = [name.decode() for name in client.hkeys(gate_key("spearhead", 0))]
    assert sorted(name.split(":")[1] for name in names if name.startswith("logged:")) == ["3"]

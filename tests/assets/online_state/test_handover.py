"""A rebuild that dies, twice at once, and what is left of it; the state compared with a fold; a loss that is seen."""

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
import redis
from typer.testing import CliRunner

from fraud_assets.ingestion import run_ingest
from fraud_assets.ingestion.failpoint import STATE_FAILPOINTS
from fraud_assets.lake import Lake
from fraud_assets.online_state import StateBuild, rebuild_state, sweep_abandoned, verify
from fraud_assets.online_state.condition import lost_state
from fraud_assets.online_state.follower import Follower
from fraud_assets.online_state.status import state_status
from fraud_assets.online_state.takeover import ATTEMPTS
from fraud_assets.online_state.verify import SCRATCH_LIFE_S, StateProof, verify_state
from fraud_core.cli import app
from fraud_core.errors import StateError
from fraud_core.features import FeatureSet, OnlineState, write_states
from fraud_core.features.final_states import Item
from fraud_core.features.handover import Fence, Handover, gate_key
from fraud_core.features.moment import moment_text
from fraud_core.log import Log
from fraud_core.settings import Settings
from tests.assets.history import decide, declarations, now_payments
from tests.assets.monitoring.test_parity import compare

pytestmark = [pytest.mark.valkey, pytest.mark.early]


class Died(BaseException):
    """The process is gone; nothing is tidied up."""


@pytest.fixture
def features(settings: Settings) -> FeatureSet:
    return declarations(settings)[1]


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.redis_address) as opened:
        yield opened


def rebuild(settings: Settings, lake: Lake, log: Log, **more: Any) -> StateBuild:
    return rebuild_state(settings, lake, log, *declarations(settings), **more)


def die_at(settings: Settings, lake: Lake, log: Log, point: str, client: redis.Redis) -> None:
    """A rebuild killed at a step: lease and fence stay, until their time is up."""

    def hit(passed: str) -> None:
        if passed == point:
            raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handover, "release", lambda self: None)
        patch.setattr(Handover, "lift", lambda self: None)
        with pytest.raises(Died):
            rebuild(settings, lake, log, failpoint=hit)
    with pytest.raises(StateError, match="another is under way"):
        rebuild(settings, lake, log)
    client.delete("{spearhead:epoch}:lease")  # its time is up


QUICK = ("state_drained", "state_flipped")


@pytest.mark.parametrize(
    "point",
    [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in STATE_FAILPOINTS if each not in QUICK)],
)
def test_a_rebuild_that_died_is_gone_on_with(
    settings: Settings, lake: Lake, log: Log, client: redis.Redis, point: str
) -> None:
    settings = settings.changed(state_fence_s=20)
    rebuild(settings, lake, log)
    payments = now_payments(24)
    decide(settings, payments[:8])
    run_ingest(settings)
    decide(settings, payments[8:12])  # not in the lake yet
    die_at(settings, lake, log, point, client)
    if point not in ("state_flipped", "state_closed", "state_swept"):
        decide(settings, payments[12:16])  # by the old epoch, which stands
    done = rebuild(settings, lake, log)
    assert done.rebuilt.epoch == 2
    assert done.resumed == (point != "state_leased")
    decide(settings, payments[16:])
    run_ingest(settings)
    parity = compare(settings, lake)
    assert parity.first_difference is None
    assert parity.compared == parity.decisions >= 20
    proof = verify_state(settings, lake, log, *declarations(settings), sample=0)
    assert (proof.differences, proof.in_flight) == ([], 0)
    assert {key.split(b":")[1] for key in client.scan_iter("spearhead:[0-9]*:{*")} == {b"2"}
    assert client.hgetall("{spearhead:epoch}:rebuild") == {}


def test_a_flip_whose_answer_is_lost_leaves_the_old_epochs_gates_shut(
    settings: Settings, lake: Lake, log: Log, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been made: what the old epoch's workers log after it would be missing from the new epoch."""
    rebuild(settings, lake, log)
    flip = Handover.flip

    def unheard(self: Handover, epoch: int, fence: Fence) -> bool:
        monkeypatch.setattr(Handover, "close", lambda self, epoch: None)  # it got no further
        assert flip(self, epoch, fence)
        raise redis.ConnectionError("the connection was lost")

    monkeypatch.setattr(Handover, "flip", unheard)
    with pytest.raises(StateError, match="connection was lost"):
        rebuild(settings, lake, log)
    assert client.get("spearhead:epoch") == b"2"
    assert client.hget(gate_key("spearhead", 0), "fenced") == b"1"
    monkeypatch.undo()
    assert rebuild(settings, lake, log).rebuilt.epoch == 2


def test_a_fence_that_ends_while_the_log_is_drained_ends_the_attempt_though_decisions_never_cease(
    settings: Settings, lake: Lake, log: Log, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild(settings, lake, log)
    drain, attempts = Follower.drain, []

    def never_at_its_end(self: Follower) -> int:
        return drain(self) or 1

    def fenced(passed: str) -> None:
        if passed == "state_fenced":
            attempts.append(passed)
            monkeypatch.setattr(Follower, "drain", never_at_its_end)

    with pytest.raises(StateError, match="SPEARHEAD_STATE_FENCE_S"):
        rebuild(settings.changed(state_fence_s=0.2), lake, log, failpoint=fenced)
    assert len(attempts) == ATTEMPTS
    assert client.get("spearhead:epoch") == b"1"
    assert not client.hexists(gate_key("spearhead", 0), "fenced")
    monkeypatch.undo()
    again = rebuild(settings, lake, log)
    assert (again.rebuilt.epoch, again.resumed) == (2, True)


def test_a_changed_entity_is_found_and_named(
    settings: Settings, lake: Lake, log: Log, client: redis.Redis
) -> None:
    rebuild(settings, lake, log)
    declared = declarations(settings)
    keys = [key for key in client.scan_iter("spearhead:1:{account:*") if key.endswith(b"}")]
    first, second = sorted(keys)[:2]
    client.delete(first)
    client.setrange(second, 0, (77).to_bytes(6, "little"))
    proof = verify_state(settings, lake, log, *declared, sample=0)
    assert proof.differing + proof.in_flight == 2
    assert any(
        first.split(b":")[3].rstrip(b"}").decode() in words and "missing online" in words
        for words in proof.differences
    )
    partly = verify_state(settings, lake, log, *declared, sample=3)
    assert 0 < partly.compared <= 12


def test_comparisons_that_meet_keep_out_of_each_others_way(
    settings: Settings, lake: Lake, log: Log, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild(settings, lake, log)
    mine = client.keys("*")
    proofs: list[StateProof] = []

    def compared() -> None:
        proofs.append(verify_state(settings, lake, log, *declarations(settings), sample=5))

    def write_and_be_met(connection: Any, items: list[Item]) -> None:
        write_states(connection, items)
        assert all(
            0 < client.ttl(item.key) <= SCRATCH_LIFE_S for item in items
        )  # also where the process is killed
        sweep_abandoned(settings, declarations(settings)[1])
        monkeypatch.setattr(verify, "write_states", write_states)
        compared()

    monkeypatch.setattr(verify, "write_states", write_and_be_met)
    compared()
    assert [(proof.differences, proof.compared > 0) for proof in proofs] == [([], True)] * 2
    assert set(client.keys("*")) <= set(mine)


def test_status_says_what_there_is_and_no_more(
    settings: Settings, lake: Lake, log: Log, features: FeatureSet, client: redis.Redis
) -> None:
    def shown() -> tuple[int, str]:
        found = CliRunner().invoke(app, ["state", "status"], env=settings.environment())
        return found.exit_code, " ".join(found.output.split())

    code, said = shown()
    assert code == 1
    assert "Run `spearhead state rebuild`" in said
    assert "epoch none" in said
    assert "None" not in said
    rebuild(settings, lake, log, reason="a test")
    found = state_status(settings, lake, log, features)
    assert (found["epoch"], found["problem"], found["under_way"]) == (1, None, None)
    assert found["entities"]["account"] > 0
    [past] = found["rebuilds"]
    assert (past["epoch"], past["reason"], past["attempts"]) == (1, "a test", 1)
    assert past["fence_ms"] > 0
    of_the_epoch = f"built at {moment_text(found['built_at_ms'])}"
    assert found["built_at_ms"] == registered(client)["created_ms"]
    code, said = shown()
    assert code == 0
    assert of_the_epoch in said
    client.hset("spearhead:epochs", "1", json.dumps(registered(client) | {"state_hash": "another"}))
    code, said = shown()
    assert code == 1
    assert "found another: the feature declaration changed" in said
    assert "epoch 1 feature set hash" in said
    assert of_the_epoch in said


def registered(client: redis.Redis) -> dict[str, Any]:
    """What the registry says of epoch 1."""
    found: dict[str, Any] = json.loads(cast("bytes", client.hget("spearhead:epochs", "1")))
    return found


def test_a_loss_is_seen_and_a_state_that_was_never_built_is_none(
    settings: Settings, lake: Lake, log: Log, features: FeatureSet, client: redis.Redis
) -> None:
    assert lost_state(settings, lake, features) is None
    rebuild(settings, lake, log)
    assert lost_state(settings, lake, features) is None
    rebuild(settings, lake, log)
    client.set("spearhead:epoch", 1)
    assert "an older copy" in (lost_state(settings, lake, features) or "")
    client.delete("spearhead:epoch")
    assert "wiped" in (lost_state(settings, lake, features) or "")
    client.set("{spearhead:epoch}:lost", "3 keys were evicted")
    assert lost_state(settings, lake, features) == "3 keys were evicted"


def test_abandoned_epochs_are_swept_in_bounded_steps(
    settings: Settings, lake: Lake, log: Log, features: FeatureSet, client: redis.Redis
) -> None:
    rebuild(settings, lake, log)
    state = OnlineState(client, features, settings.namespace)
    state.load()
    client.mset({f"spearhead:7:{{account:{number}}}": b"x" for number in range(2500)})
    assert sweep_abandoned(settings, features, most=1000) < 2500
    sweep_abandoned(settings, features)
    assert not list(client.scan_iter("spearhead:7:*"))
    assert list(client.scan_iter("spearhead:1:{account:*"))


def test_a_rate_is_kept(settings: Settings, lake: Lake, log: Log) -> None:
    keys = sum(rebuild(settings, lake, log).rebuilt.entities.values())
    slow = rebuild(settings, lake, log, rate=keys)
    assert slow.seconds > 1

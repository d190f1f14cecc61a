"""A shard in trouble: its new life after the log was lost, what was removed before it was read, and its neighbours."""

from collections.abc import Callable
from datetime import timedelta

import polars as pl
import pytest
import redis

from fraud_assets.ingestion import run_ingest, verify
from fraud_assets.lake import Lake
from fraud_core.errors import LogError, LogUnavailable, LostRange
from fraud_core.log import Log, Shard, json_entry, open_log
from fraud_core.log.redis_streams import RedisLog
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey
ON_EVERY_STORE = True
MakeEvent = Callable[..., bytes]


class Death(BaseException):
    """Stands for a killed process."""


def dies_at(point: str) -> Callable[[str], None]:
    def hit(name: str) -> None:
        if name == point:
            raise Death

    return hit


def in_redis(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(settings.redis_address)


def test_a_run_that_dies_in_the_first_plan_of_a_new_life_is_finished_by_the_next(
    settings: Settings, log: Log, event: MakeEvent
) -> None:
    log.append("transactions", [json_entry(event(1)), json_entry(b"{bad")])
    run_ingest(settings)
    with in_redis(settings) as client:
        client.flushall()
    again = open_log(settings)
    again.append("transactions", [json_entry(event(2)), json_entry(b"{worse")])
    again.close()
    with pytest.raises(Death):
        run_ingest(settings, failpoint=dies_at("after_quarantine_commit"))
    assert run_ingest(settings).valid == 1
    proof = verify(settings)
    assert proof.ok, proof.problems
    assert (proof.valid, proof.quarantined) == (2, 2)


def test_what_was_removed_before_it_was_ever_read_is_lost_and_not_overlooked(
    settings: Settings, log: Log, event: MakeEvent
) -> None:
    log.append("transactions", [json_entry(event(number)) for number in range(5)])
    with in_redis(settings) as client:
        client.xtrim(f"{settings.namespace}:log:{{transactions.0}}", maxlen=0, approximate=False)
    with pytest.raises(LostRange, match="5 entries were expected"):
        run_ingest(settings)


def test_a_deep_shard_keeps_no_other_waiting(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent
) -> None:
    small = settings.changed(plan_max_events=100)
    log.append("transactions", [json_entry(event(number)) for number in range(500)])
    log.append("labels", [json_entry(b"{bad")])
    totals = run_ingest(small, plans_per_shard=1)
    assert (totals.commits, totals.events) == (2, 101)
    assert lake.scan("quarantine_labels").select(pl.len()).collect().item() == 1


@pytest.mark.parametrize("until", ["end", "some time"])
def test_a_shard_that_cannot_go_on_stops_no_other_and_is_told_at_the_end(
    settings: Settings, log: Log, lake: Lake, event: MakeEvent, until: str
) -> None:
    log.append("transactions", [json_entry(event(number)) for number in range(3)])
    log.append("labels", [json_entry(b"{bad")])
    with in_redis(settings) as client:
        client.xtrim(f"{settings.namespace}:log:{{transactions.0}}", maxlen=1, approximate=False)
    with pytest.raises(LostRange, match="transactions/0"):
        run_ingest(settings, until="end" if until == "end" else timedelta(seconds=3))
    assert lake.scan("quarantine_labels").select(pl.len()).collect().item() == 1


@pytest.mark.parametrize("until", ["end", "some time"])
@pytest.mark.parametrize("kind", [LogUnavailable, LogError])
def test_a_shard_whose_server_is_away_or_refuses_stops_no_other_and_is_told_at_the_end(
    settings: Settings,
    log: Log,
    lake: Lake,
    event: MakeEvent,
    monkeypatch: pytest.MonkeyPatch,
    until: str,
    kind: type[LogError],
) -> None:
    log.append("transactions", [json_entry(event(1))])
    log.append("labels", [json_entry(b"{bad")])
    end = RedisLog.end

    def troubled(self: RedisLog, shard: Shard) -> int:
        if shard.stream == "transactions":
            raise kind(f"No answer for {shard}.")
        return end(self, shard)

    monkeypatch.setattr(RedisLog, "end", troubled)
    monkeypatch.setattr("fraud_assets.ingestion.run._PATIENCE_S", 0.5)
    with pytest.raises(kind, match="transactions/0"):
        run_ingest(settings, until="end" if until == "end" else timedelta(seconds=20))
    assert lake.scan("quarantine_labels").select(pl.len()).collect().item() == 1
    monkeypatch.undo()
    assert run_ingest(settings).valid == 1
    assert verify(settings).ok

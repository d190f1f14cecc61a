"""Which days' features have to be computed again: those of events that came late, and of events that were ingested late."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import dagster as dg
import pytest
import redis

from fraud_assets.features import days_known_since
from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import open_lake
from fraud_assets.orchestration.features.schedules import hourly_features
from fraud_assets.orchestration.resources import Platform
from fraud_assets.runs.client import RANGE_END_TAG, RANGE_START_TAG
from fraud_core.contracts import timestamp_text
from fraud_core.log import open_log
from fraud_core.settings import Settings
from tests.serving.samples import event, payload

pytestmark = pytest.mark.valkey
LOOK_BACK = timedelta(hours=3)


def append(settings: Settings, happened: datetime, came: datetime) -> None:
    """An event on the log, as if it had come then."""
    log = open_log(settings)
    log.shards("transactions")
    log.close()
    item = event(event_ts=timestamp_text(int(happened.timestamp() * 1_000_000)))
    with redis.Redis.from_url(settings.redis_address) as client:
        key = f"{settings.namespace}:log:{{transactions.0}}"
        client.xadd(key, {"j1": payload(item)}, id=f"{int(came.timestamp() * 1000)}-*")


def test_an_event_that_came_late_names_its_day(settings: Settings) -> None:
    now = datetime.now(UTC)
    append(settings, now - timedelta(days=5), now - timedelta(minutes=2))
    append(settings, now - timedelta(minutes=1), now - timedelta(minutes=1))
    run_ingest(settings, ["transactions"])
    lake = open_lake(settings)
    assert days_known_since(lake, now - LOOK_BACK) == {
        (now - timedelta(days=5)).date(),
        (now - timedelta(minutes=1)).date(),
    }


def test_events_that_came_while_nobody_ingested_name_their_days_once_they_are_in_the_lake(
    settings: Settings,
) -> None:
    now = datetime.now(UTC)
    for days in (4, 3, 2):
        append(settings, now - timedelta(days=days), now - timedelta(days=days))
    lake = open_lake(settings)
    assert days_known_since(lake, now - LOOK_BACK) == set()
    run_ingest(settings, ["transactions"])
    waited = {(now - timedelta(days=days)).date() for days in (4, 3, 2)}
    assert days_known_since(lake, now - LOOK_BACK) == waited
    assert days_known_since(lake, now + timedelta(hours=1)) == set()


def test_a_very_late_event_has_its_day_computed_again_and_not_all_days_since(settings: Settings) -> None:
    now = datetime.now(UTC)
    today = now.date()
    very_late, late = today - timedelta(days=300), today - timedelta(days=5)
    for days in (300, 5, 0):
        append(settings, now - timedelta(days=days), now - timedelta(minutes=2))
    run_ingest(settings, ["transactions"])
    since = (today - timedelta(days=400)).isoformat()
    platform = Platform(
        overrides={"home": str(settings.home), "lake": settings.lake_uri, "first_event_date": since}
    )
    context = dg.build_schedule_context(scheduled_execution_time=now)
    runs = cast("Iterator[dg.RunRequest]", hourly_features(context, platform=platform))
    found = [(each.tags[RANGE_START_TAG], each.tags[RANGE_END_TAG]) for each in runs]
    assert found == [(str(very_late), str(very_late)), (str(late), str(today))]

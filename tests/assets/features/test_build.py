"""The feature table: only the range asked for is replaced, and what is computed again later is the same."""

from datetime import date, timedelta

import polars as pl
import pytest

from fraud_assets.features import FEATURES, build_features
from fraud_assets.lake import Lake, open_lake
from fraud_core.settings import Settings
from tests.assets.history import END, declarations

pytestmark = pytest.mark.valkey
LAST = END.date() - timedelta(days=1)


def day(back: int) -> date:
    return LAST - timedelta(days=back)


def build(settings: Settings, lake: Lake, first: date, last: date) -> dict[date, int]:
    return build_features(lake, *declarations(settings), first, last).rows


def table(lake: Lake) -> pl.DataFrame:
    return lake.scan(FEATURES).sort("transaction_id").collect()


def test_each_transaction_of_the_range_gets_one_row(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    rows = build(past_settings, lake, day(4), day(0))
    assert sorted(rows) == [day(back) for back in (4, 3, 2, 1, 0)]
    wanted = lake.scan("transactions").filter(pl.col("event_date").is_between(day(4), day(0))).collect()
    assert sorted(table(lake)["transaction_id"]) == sorted(wanted["transaction_id"])
    assert sum(rows.values()) == wanted.height


def test_a_build_replaces_its_own_days_and_touches_no_others(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    build(past_settings, lake, day(4), day(0))
    before = table(lake)
    wrong = before.with_columns(known_at=pl.col("known_at") - pl.duration(days=1))
    lake.replace(FEATURES, wrong, "true")
    build(past_settings, lake, day(3), day(2))
    mended = pl.col("event_date").is_between(day(3), day(2))
    assert table(lake).filter(mended).equals(before.filter(mended))
    assert table(lake).filter(~mended).equals(wrong.filter(~mended))


def test_what_came_later_does_not_change_what_was_known_then(
    past_settings: Settings, settings: Settings
) -> None:
    lake = open_lake(past_settings)
    build(past_settings, lake, day(12), day(10))
    with_everything = table(lake)
    for name in ("transactions", "labels"):
        known = lake.scan(name).filter(pl.col("known_at") <= with_everything["known_at"].max()).collect()
        lake.replace(name, known, "true")
    build(past_settings, lake, day(12), day(10))
    assert table(lake).equals(with_everything)


def test_a_range_built_day_by_day_equals_the_range_built_at_once(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    build(past_settings, lake, day(2), day(0))
    at_once = table(lake)
    for back in (0, 2, 1):
        build(past_settings, lake, day(back), day(back))
    assert table(lake).equals(at_once)


def test_days_without_transactions_are_empty_partitions(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    assert build(past_settings, lake, day(500), day(499)) == {}
    assert table(lake).is_empty()

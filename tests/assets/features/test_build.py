"""The feature table: only the range asked for is replaced, and what is computed again later is the same."""

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from fraud_assets.features import FEATURES, build, build_features
from fraud_assets.lake import Lake, open_lake
from fraud_assets.online_state.epochs import record_epoch
from fraud_core.errors import CommitRefused
from fraud_core.log import Shard
from fraud_core.settings import Settings
from tests.assets.history import END, declarations

pytestmark = pytest.mark.valkey
LAST = END.date() - timedelta(days=1)


def day(back: int) -> date:
    return LAST - timedelta(days=back)


def compute(settings: Settings, lake: Lake, first: date, last: date) -> dict[date, int]:
    return build_features(lake, *declarations(settings), first, last).rows


def table(lake: Lake) -> pl.DataFrame:
    return lake.scan(FEATURES).sort("transaction_id").collect()


@pytest.mark.compiles
def test_each_transaction_of_the_range_gets_one_row(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    rows = compute(past_settings, lake, day(4), day(0))
    assert sorted(rows) == [day(back) for back in (4, 3, 2, 1, 0)]
    wanted = lake.scan("transactions").filter(pl.col("event_date").is_between(day(4), day(0))).collect()
    assert sorted(table(lake)["transaction_id"]) == sorted(wanted["transaction_id"])
    assert sum(rows.values()) == wanted.height


def test_a_build_replaces_its_own_days_and_touches_no_others(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    compute(past_settings, lake, day(4), day(0))
    before = table(lake)
    wrong = before.with_columns(known_at=pl.col("known_at") - pl.duration(days=1))
    lake.replace(FEATURES, wrong, "true")
    compute(past_settings, lake, day(3), day(2))
    mended = pl.col("event_date").is_between(day(3), day(2))
    assert table(lake).filter(mended).equals(before.filter(mended))
    assert table(lake).filter(~mended).equals(wrong.filter(~mended))


def test_what_came_later_does_not_change_what_was_known_then(
    past_settings: Settings, settings: Settings
) -> None:
    lake = open_lake(past_settings)
    compute(past_settings, lake, day(12), day(10))
    with_everything = table(lake)
    for name in ("transactions", "labels"):
        known = lake.scan(name).filter(pl.col("known_at") <= with_everything["known_at"].max()).collect()
        lake.replace(name, known, "true")
    compute(past_settings, lake, day(12), day(10))
    assert table(lake).equals(with_everything)


def test_a_range_built_day_by_day_equals_the_range_built_at_once(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    compute(past_settings, lake, day(2), day(0))
    at_once = table(lake)
    for back in (0, 2, 1):
        compute(past_settings, lake, day(back), day(back))
    assert table(lake).equals(at_once)


def test_days_without_transactions_are_empty_partitions(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    assert compute(past_settings, lake, day(500), day(499)) == {}
    assert table(lake).is_empty()


def test_days_without_transactions_read_none(past_settings: Settings) -> None:
    built = build_features(open_lake(past_settings), *declarations(past_settings), day(500), day(499))
    assert built.folded == 0


def add_payment(lake: Lake, id: str, at: datetime, payer: str, **changes: Any) -> None:
    """A payment of an account, card and device that nobody else uses."""
    row = lake.scan("transactions").head(1).collect()
    fields = {
        "transaction_id": id,
        "event_ts": at,
        "event_date": at.date(),
        "known_at": at,
        "account_id": payer,
        "card_id": payer,
        "device_id": payer,
        **changes,
    }
    changed = row.with_columns(pl.lit(value, row.schema[name]).alias(name) for name, value in fields.items())
    lake.append(lake.table("transactions"), changed)


def row_of(lake: Lake, id: str) -> pl.DataFrame:
    return lake.scan(FEATURES).filter(pl.col("transaction_id") == id).collect()


def values_of(lake: Lake, id: str) -> dict[str, Any]:
    return row_of(lake, id).row(0, named=True)


@pytest.mark.parametrize(
    ("pause", "card", "account"),
    [
        (timedelta(days=30) - timedelta(seconds=64), True, True),
        (timedelta(days=30), False, True),
        (timedelta(days=60), False, True),
        (timedelta(days=90), False, False),
    ],
)
def test_a_previous_payment_counts_for_as_long_as_its_entity_has_a_history_wherever_a_build_begins(
    past_settings: Settings, pause: timedelta, card: bool, account: bool
) -> None:
    """The card's history is 30 days long, the account's 90."""
    lake = open_lake(past_settings)
    now = END - timedelta(hours=12)
    add_payment(lake, "before", now - pause, "seldom", latitude=10.0, longitude=10.0)
    add_payment(lake, "now", now, "seldom", latitude=11.0, longitude=10.0)
    compute(past_settings, lake, day(0), day(0))
    of_the_day = row_of(lake, "now")
    compute(past_settings, lake, (now - pause).date(), day(0))
    assert row_of(lake, "now").equals(of_the_day)
    values, seconds = of_the_day.row(0, named=True), pause.total_seconds()
    assert values["card_since_last"] == pytest.approx(seconds if card else math.nan, nan_ok=True)
    assert values["account_since_last"] == pytest.approx(seconds if account else math.nan, nan_ok=True)
    assert math.isnan(values["account_distance"]) == (not account)


def test_a_payment_that_came_ahead_of_its_time_is_read_where_its_history_begins(
    past_settings: Settings,
) -> None:
    lake = open_lake(past_settings)
    first = END - timedelta(days=1)
    before = first - timedelta(days=90) + timedelta(seconds=20)
    add_payment(lake, "before", before, "ahead", known_at=before - timedelta(seconds=50))
    add_payment(lake, "now", first, "ahead")
    compute(past_settings, lake, day(0), day(0))
    assert values_of(lake, "now")["account_since_last"] == (first - before).total_seconds()


def test_a_payment_that_a_rebuild_read_first_counts_though_it_became_known_last(
    past_settings: Settings,
) -> None:
    """Ingestion of one shard had stalled: the first rebuild read a newer payment, the second an older one."""
    lake = open_lake(past_settings)
    _, features = declarations(past_settings)
    late, stalled = END - timedelta(days=1, minutes=10), END - timedelta(hours=23)
    add_payment(lake, "late", late, "both", known_at=END + timedelta(hours=5), _shard=7, _offset=1)
    add_payment(lake, "stalled", stalled, "both", _shard=8, _offset=1)
    last = lake.scan("transactions").filter(pl.col("_shard") == 0).sort("_offset").last().collect()
    life = last["_incarnation"].item()
    read = {Shard("transactions", 0, life): last["_offset"].item(), Shard("transactions", 7, life): 1}
    record_epoch(lake, features, 1, read | {Shard("transactions", 8, life): 0})
    record_epoch(lake, features, 2, read | {Shard("transactions", 8, life): 1})
    compute(past_settings, lake, day(0), day(0))
    of_the_day = row_of(lake, "stalled")
    compute(past_settings, lake, day(1), day(0))
    assert row_of(lake, "stalled").equals(of_the_day)
    assert of_the_day["account_count_1d"].item() == 2


def interfere(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object], times: int) -> list[int]:
    """Do something after a build has read and before it writes."""
    read, seen = build.read_history, [0]

    def reading(*args: Any) -> Any:
        found = read(*args)
        seen[0] += 1
        if seen[0] <= times:
            what()
        return found

    monkeypatch.setattr(build, "read_history", reading)
    return seen


def test_a_build_that_read_less_never_overwrites_one_that_read_more(
    past_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake(past_settings)
    compute(past_settings, lake, day(0), day(0))

    def overtake() -> None:
        add_payment(lake, "came meanwhile", END - timedelta(hours=12), "new")
        with monkeypatch.context() as undone:
            undone.setattr(build, "read_history", original)
            compute(past_settings, lake, day(0), day(0))

    original = build.read_history
    seen = interfere(monkeypatch, overtake, times=1)
    compute(past_settings, lake, day(0), day(0))
    assert seen == [2]
    assert values_of(lake, "came meanwhile")["account_count_1d"] == 1


def test_a_build_that_is_always_overtaken_gives_up_and_says_so(
    past_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake(past_settings)
    compute(past_settings, lake, day(0), day(0))
    before = table(lake)
    predicate = f"event_date = '{day(0)}'"
    interfere(monkeypatch, lambda: lake.replace(FEATURES, before, predicate), times=9)
    with pytest.raises(CommitRefused, match="compute them again when no other build"):
        compute(past_settings, lake, day(0), day(0))
    assert table(lake).equals(before)


def test_builds_of_other_days_are_not_in_the_way(
    past_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake(past_settings)
    compute(past_settings, lake, day(2), day(0))
    others = table(lake).filter(pl.col("event_date") == day(2))
    seen = interfere(monkeypatch, lambda: lake.replace(FEATURES, others, f"event_date = '{day(2)}'"), times=9)
    compute(past_settings, lake, day(1), day(0))
    assert seen == [1]

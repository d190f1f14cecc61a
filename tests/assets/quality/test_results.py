"""`data_quality` has a row per batch and broken rule and one per batch, exactly once, whoever dies or meets while recording."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
import redis

from fraud_assets.ingestion import run_ingest
from fraud_assets.lake import Lake, open_lake
from fraud_assets.quality import results, trends
from fraud_assets.quality.results import ANY, DATA_QUALITY, read_results, record_results
from fraud_core.contracts import load_contracts
from fraud_core.errors import CommitRefused
from fraud_core.log import json_entry, open_log
from fraud_core.settings import Settings

pytestmark = pytest.mark.valkey


@pytest.fixture
def send(settings: Settings) -> Callable[..., None]:
    """send(number, field=value, …): one payment onto the log."""
    example = load_contracts(settings.contracts).transactions.example()

    def send(number: int, **fields: Any) -> None:
        log = open_log(settings)
        event = {**example, "transaction_id": f"tx-{number:08d}", **fields}
        log.append("transactions", [json_entry(json.dumps(event).encode())])
        log.close()

    return send


def proved(lake: Lake) -> None:
    """The results say exactly what ledger and quarantine say."""
    found = read_results(lake).collect()
    whole = found.filter(code=ANY).sort("stream", "shard", "incarnation", "end")
    ledger = lake.scan("ledger").collect().sort("stream", "shard", "incarnation", "end")
    place = ["stream", "shard", "incarnation", "start", "end"]
    assert whole.select(*place, checked="checked", failed="failed").rows() == ledger.select(
        *place, checked="events", failed="violations"
    ).rows()  # fmt: skip
    for stream in ledger["stream"].unique():
        held = lake.scan(f"quarantine_{stream}").filter(pl.col("kind") == "violation").collect()
        reasons = dict(held["reasons"].explode().drop_nulls().value_counts().iter_rows())
        by_rule = found.filter(pl.col("stream") == stream, pl.col("code") != ANY)
        assert dict(by_rule.group_by("code").agg(pl.col("failed").sum()).iter_rows()) == reasons


def test_each_batch_has_a_row_and_each_broken_rule_another(
    settings: Settings, send: Callable[..., None]
) -> None:
    small = settings.changed(plan_max_events=4)
    for number in range(4):
        send(number)
    for number, fields in enumerate(
        [
            {"amount_minor": -1, "amount_base_minor": -1},
            {"country": "??"},
            {"country": "!!"},
            {"card_present": True},
        ],
        start=4,
    ):
        send(number, **fields)
    run_ingest(small)
    lake = open_lake(settings)
    found = read_results(lake).collect().sort("end", maintain_order=True)
    assert found.select("code", "column", "checked", "failed").rows() == [
        ("any", None, 4, 0),
        ("any", None, 4, 4),
        ("country.enum", "country", 4, 2),
        ("amount_base_minor.minimum", "amount_base_minor", 4, 1),
        ("amount_minor.minimum", "amount_minor", 4, 1),
        ("rule.card_absent_online", None, 4, 1),
    ]
    assert found["share"].to_list() == [0, 1, 0.5, 0.25, 0.25, 0.25]
    assert found["contract_version"].unique().to_list() == ["1.0.0"]
    event_ts = lake.scan("transactions").collect()["event_ts"]
    assert found.row(0, named=True)["first_event_at"] == event_ts.min()
    assert found.row(1, named=True)["first_event_at"] is None, "no valid event, no span"
    proved(lake)


def test_recording_again_adds_nothing_and_an_old_lake_is_caught_up_with(
    settings: Settings, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_PLANS", 2)
    for number in range(7):
        send(number, country="DE" if number % 2 else "??")
    with monkeypatch.context() as patch:
        patch.setattr("fraud_assets.ingestion.run.record_results", lambda _: 0)
        run_ingest(settings.changed(plan_max_events=1))
    lake = open_lake(settings)
    assert not lake.exists(DATA_QUALITY)
    assert record_results(lake) == 7
    version = lake.table(DATA_QUALITY).version()
    assert record_results(lake) == 0
    assert lake.table(DATA_QUALITY).version() == version
    proved(lake)


def test_two_who_record_at_once_record_once(
    settings: Settings, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        send(number, country="??")
    with monkeypatch.context() as patch:
        patch.setattr("fraud_assets.ingestion.run.record_results", lambda _: 0)
        run_ingest(settings.changed(plan_max_events=2))
    lake = open_lake(settings)
    append, met = Lake.append, []

    def append_second(self: Lake, table: Any, frame: Any, versions: Any = None) -> None:
        if not met:
            met.append(True)
            record_results(lake)  # another process, between this one's reading and its commit
            with pytest.raises(CommitRefused):
                append(self, table, frame, versions)
            raise CommitRefused("second")
        append(self, table, frame, versions)

    monkeypatch.setattr(Lake, "append", append_second)
    assert record_results(lake) == 0
    proved(lake)


def test_results_survive_deaths_new_lives_of_the_log_and_mixed_batches(
    settings: Settings, send: Callable[..., None]
) -> None:
    class Death(BaseException):
        pass

    random = Random(5)
    for life in range(2):
        for number in range(14):
            send(
                100 * life + number,
                country=random.choice(["DE", "??"]),
                channel=random.choice(["ecom", "fax"]),
            )
            if random.random() < 0.3:
                point = random.choice(
                    ["after_quarantine_commit", "after_main_commit", "after_ledger_commit", "after_trim"]
                )

                def hit(name: str, deadly: str = point) -> None:
                    if name == deadly:
                        raise Death

                with pytest.raises(Death):
                    run_ingest(settings, failpoint=hit)
                if random.random() < 0.5:
                    record_results(open_lake(settings))
        run_ingest(settings)
        if life == 0:
            with redis.Redis.from_url(settings.redis_address) as client:
                client.flushall()
    proved(open_lake(settings))


def test_a_trend_is_not_drawn_through_a_time_without_batches() -> None:
    start = datetime(2026, 9, 1, tzinfo=UTC)
    minutes = [0, 1, 3, 30, 31]
    line = pl.DataFrame(
        {
            "at": [start + timedelta(minutes=each) for each in minutes],
            "share": [0.5, 0.4, 0.3, 0.0, 0.0],
        }
    )
    drawn = trends.broken_at_gaps(line, "1m")
    assert drawn["share"].is_nan().to_list() == [False, False, False, True, False, False]
    assert drawn["at"].is_sorted()

"""A history is a pure function of the world: byte by byte, however it is cut."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fraud_core.errors import SettingsError
from fraud_core.simulator import SCENARIOS, Chunk, History, World, WorldSpec
from fraud_core.simulator.rhythm import DAY_MS

UNTIL_MS = int(datetime(2026, 9, 30, 15, 27, 11, tzinfo=UTC).timestamp() * 1000)
SPEC = WorldSpec(seed=3, accounts=400, merchants=200, events_per_day=800, fraud_share=0.02)


def history(
    days: float, *, spec: WorldSpec = SPEC, until_ms: int = UNTIL_MS, faults: float = 0.0
) -> list[Chunk]:
    return list(History(World(spec), until_ms - int(days * DAY_MS), until_ms, faults).chunks())


def transactions(chunks: list[Chunk]) -> pl.DataFrame:
    return pl.concat([chunk.transactions for chunk in chunks])


@pytest.fixture(scope="module")
def quarter() -> list[Chunk]:
    return history(60, faults=0.02)


def test_the_same_seed_and_end_give_the_same_bytes() -> None:
    first, second = history(20, faults=0.02), history(20, faults=0.02)
    assert transactions(first).write_ipc(None).getvalue() == transactions(second).write_ipc(None).getvalue()
    for one, other in zip(first, second, strict=True):
        assert_frame_equal(one.labels, other.labels)
        assert one.faults == other.faults


def test_another_seed_gives_other_events_and_other_ids() -> None:
    other = WorldSpec(seed=4, accounts=400, merchants=200, events_per_day=800, fraud_share=0.02)
    ours, theirs = transactions(history(3)), transactions(history(3, spec=other))
    assert not set(ours["transaction_id"]) & set(theirs["transaction_id"])
    assert ours["amount_minor"].to_list()[:50] != theirs["amount_minor"].to_list()[:50]


def test_overlapping_histories_hold_the_same_events() -> None:
    long = transactions(history(20))
    shifted = transactions(history(9, until_ms=UNTIL_MS - 2 * DAY_MS))
    both = shifted.join(long, on="transaction_id", how="inner")
    # All but the few whose arrival the earlier end had not seen.
    assert both.height == shifted.height
    assert_frame_equal(
        shifted.sort("transaction_id"),
        long.filter(pl.col("transaction_id").is_in(shifted["transaction_id"].implode())).sort(
            "transaction_id"
        ),
    )


def test_events_come_in_order_of_arrival_and_none_arrives_after_the_end(quarter: list[Chunk]) -> None:
    rows = transactions(quarter)
    arrival = rows["_virtual_ms"]
    assert arrival.is_sorted()
    assert int(arrival.max()) < UNTIL_MS  # type: ignore[arg-type]  # of a column of numbers
    delay = arrival.to_numpy() - rows["event_ts"].dt.epoch("ms").to_numpy()
    assert delay.min() >= 0
    assert np.median(delay) < 5_000 < delay.max()


def test_ids_are_unique(quarter: list[Chunk]) -> None:
    assert transactions(quarter)["transaction_id"].is_unique().all()


def test_every_scenario_happens_and_fraud_is_rare(quarter: list[Chunk]) -> None:
    rows = transactions(quarter)
    assert set(rows["_scenario"].drop_nulls()) == set(SCENARIOS)
    assert 0.01 < rows["_scenario"].is_not_null().mean() < 0.03  # type: ignore[operator]  # of a column of numbers


def test_only_the_chosen_scenarios_happen() -> None:
    spec = WorldSpec(
        accounts=200, merchants=200, events_per_day=600, fraud_share=0.05, scenarios=("atm_cashout",)
    )
    rows = transactions(history(10, spec=spec))
    frauds = rows.filter(pl.col("_scenario").is_not_null())
    assert set(frauds["_scenario"]) == {"atm_cashout"}
    assert set(frauds["channel"]) == {"atm"}


def test_labels_follow_their_payment_and_some_frauds_are_never_reported(quarter: list[Chunk]) -> None:
    rows = transactions(quarter)
    labels = pl.concat([chunk.labels for chunk in quarter])
    assert labels["_virtual_ms"].is_sorted()
    assert (labels["reported_at"] > labels["event_ts"]).all()
    assert int(labels["_virtual_ms"].max()) < UNTIL_MS  # type: ignore[arg-type]  # of a column of numbers
    joined = labels.join(rows, on="transaction_id", how="left", suffix="_of_payment")
    assert (joined["event_ts"] == joined["event_ts_of_payment"]).all()
    old = rows.filter(
        pl.col("_scenario").is_not_null() & (pl.col("event_ts").dt.epoch("ms") < UNTIL_MS - 45 * DAY_MS)
    )
    reported = labels.filter("is_fraud")["transaction_id"].implode()
    assert 0.80 < old["transaction_id"].is_in(reported).mean() < 1.0  # type: ignore[operator]  # of a column of numbers
    delay = (
        labels.filter("is_fraud")["reported_at"] - labels.filter("is_fraud")["event_ts"]
    ).dt.total_hours() / 24
    assert 0.5 < delay.median() < 7 < delay.max()  # type: ignore[operator]  # of a column of numbers


def test_cards_of_a_compromised_merchant_were_used_there_before(quarter: list[Chunk]) -> None:
    rows = transactions(quarter)
    abused = rows.filter(pl.col("_scenario") == "compromised_merchant").select(
        "account_id", pl.col("event_ts").alias("abused_at")
    )
    honest = rows.filter(pl.col("_scenario").is_null()).select("account_id", "merchant_id", "event_ts")
    before = abused.join(honest, on="account_id").filter(pl.col("event_ts") < pl.col("abused_at"))
    # One merchant stands out: visited before by far more of the victims than any would be by chance.
    share = before.group_by("merchant_id").agg(pl.col("account_id").n_unique()).to_series(1).max()
    assert share / abused["account_id"].n_unique() > 0.05  # type: ignore[operator]  # of a column of numbers


def test_days_have_a_rhythm(quarter: list[Chunk]) -> None:
    hours = transactions(quarter).filter(pl.col("home_country") == "DE")["event_ts"].dt.hour().value_counts()
    count = dict(hours.iter_rows())
    assert sum(count.get(hour, 0) for hour in (1, 2, 3)) * 3 < sum(
        count.get(hour, 0) for hour in (11, 12, 17)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accounts": 3}, "accounts ≥ 50"),
        ({"merchants": 10}, "merchants ≥ 150"),
        ({"fraud_share": 0.9}, "between 0 and 0.2"),
        ({"scenarios": ("bank_robbery",)}, "There are: card_testing"),
    ],
)
def test_an_impossible_world_is_refused_with_what_is_possible(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        WorldSpec(**change)  # type: ignore[arg-type]  # given by name


def test_a_history_before_the_world_began_is_refused() -> None:
    with pytest.raises(SettingsError, match="begins on 2022-01-08"):
        History(World(SPEC), 1_600_000_000_000, UNTIL_MS)

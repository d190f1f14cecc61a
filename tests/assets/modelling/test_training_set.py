"""Which payments a model learns from: as known at T, mature, with an outcome, split by time."""

from datetime import timedelta

import polars as pl
import pytest

from fraud_assets.modelling.training_set import TrainingSet, first_decisions, select_training_rows
from fraud_assets.modelling.windows import Windows, choose_windows
from fraud_core.errors import TrainingError
from tests.assets.modelling.samples import END, FEATURES, MATURITY, ROLES, START, payments

DAY = timedelta(days=1)


def select(features: pl.DataFrame, labels: pl.DataFrame, **options: object) -> TrainingSet:
    return select_training_rows(
        features,
        labels,
        options.pop("trained_at", END),
        MATURITY,
        roles=ROLES,
        feature_names=FEATURES,
        **options,
    )


def test_splits_follow_one_another_and_keep_the_delay(training_set: TrainingSet) -> None:
    bounds = {
        split: (rows["paid_at"].min(), rows["paid_at"].max())
        for split in ("train", "validation", "delay", "test")
        for rows in [training_set.rows(split)]
    }
    assert bounds["train"][1] < bounds["validation"][0] < bounds["validation"][1] < bounds["delay"][0]
    assert bounds["test"][0] - bounds["validation"][1] >= MATURITY
    assert bounds["test"][1] <= END - MATURITY
    assert all(0 < frauds < rows for rows, frauds in training_set.counts.values())


def test_every_row_is_selected_or_counted_as_left_out(training_set: TrainingSet) -> None:
    features, _ = payments()
    assert len(training_set.frame) + sum(training_set.left_out.values()) == len(features)
    assert training_set.frame["payment_id"].n_unique() == len(training_set.frame)


def test_the_label_is_the_latest_known_at_training_time_and_absent_means_genuine() -> None:
    features, labels = payments()
    windows = choose_windows(START, END, MATURITY)
    early = features.filter(pl.col("paid_at").is_between(windows.train_from, windows.validation_from))
    told, corrected, later, never = early.head(4)["payment_id"]
    labels = labels.filter(~pl.col("payment_id").is_in([told, corrected, later, never]))
    said = [
        (told, True, END - 9 * DAY),
        (corrected, False, END),
        (corrected, True, END - 9 * DAY),
        (later, True, END + timedelta(microseconds=1)),
    ]
    more = pl.DataFrame(said, schema=["payment_id", "is_fraud", "known_at"], orient="row").with_columns(
        pl.col("known_at").cast(pl.Datetime("us", "UTC"))
    )
    selected = select(features, pl.concat([more, labels]))
    found = dict(selected.frame.select("payment_id", "is_fraud").iter_rows())
    assert (found[told], found[corrected], found[later], found[never]) == (True, False, False, False)


def test_of_labels_known_at_one_time_the_last_one_on_the_log_holds_whatever_the_order_of_files() -> None:
    features, labels = payments()
    windows = choose_windows(START, END, MATURITY)
    early = features.filter(pl.col("paid_at").is_between(windows.train_from, windows.validation_from))
    ids = early.head(200)["payment_id"].to_list()
    said = pl.DataFrame({"payment_id": [*ids, *ids]}).with_columns(
        pl.lit(END - 9 * DAY).cast(pl.Datetime("us", "UTC")).alias("known_at"),
        is_fraud=pl.int_range(pl.len()) % 3 == 0,
        _shard=0,
        _incarnation=pl.lit("life"),
        _offset=pl.int_range(pl.len()),
        _index=0,
    )
    told = dict(said.select("payment_id", "is_fraud").iter_rows())
    others = labels.filter(~pl.col("payment_id").is_in(ids))
    for order in (said, said.reverse(), said.sample(fraction=1.0, shuffle=True, seed=1)):
        selected = select(features, pl.concat([order, others], how="diagonal"))
        found = dict(selected.frame.select("payment_id", "is_fraud").iter_rows())
        assert {id: found[id] for id in ids} == told


def test_immature_payments_and_declined_ones_are_no_rows() -> None:
    features, labels = payments()
    declined = pl.when(pl.col("amount_minor") > 90_000).then(pl.lit("decline")).otherwise(pl.lit("approve"))
    undecided = pl.when(pl.col("amount_minor") < 10_000).then(None).otherwise(declined)
    selected = select(features.with_columns(decision=undecided), labels)
    assert selected.frame["amount_minor"].max() <= 90_000
    assert selected.frame["amount_minor"].min() < 10_000
    assert selected.left_out["declined"] == len(features.filter(pl.col("amount_minor") > 90_000))
    assert selected.left_out["immature"] > 0
    assert selected.frame["paid_at"].max() <= END - MATURITY


def test_a_payment_that_was_decided_twice_counts_as_it_was_decided_first() -> None:
    """… whichever file of the table holds which: first by known time, then by place on the log."""
    count = 500
    ids = [f"p{number}" for number in range(count)]
    first = [("approve", "decline")[number % 2] for number in range(count)]
    again = [("decline", "approve")[number % 2] for number in range(count)]
    moments = [START] * count + [START if number % 4 < 2 else END for number in range(count)]
    rows = pl.DataFrame({"payment_id": ids * 2, "decision": first + again, "known_at": moments}).with_columns(
        _shard=0, _incarnation=pl.lit("life"), _offset=pl.int_range(2 * count), _index=0
    )
    for order in (rows, rows.reverse(), rows.sample(fraction=1.0, shuffle=True, seed=1)):
        found = dict(first_decisions(order.lazy(), "payment_id").collect().iter_rows())
        assert found == dict(zip(ids, first, strict=True))


def test_a_payment_that_came_again_is_one_row_as_it_first_became_known() -> None:
    features, labels = payments()
    windows = choose_windows(START, END, MATURITY)
    early = features.filter(pl.col("paid_at").is_between(windows.train_from, windows.validation_from)).head(
        50
    )
    again = early.with_columns(known_at=pl.col("known_at") + 3 * DAY, noise=pl.lit(-1.0, pl.Float32))
    once = select(features, labels)
    for order in (pl.concat([features, again]), pl.concat([again, features])):
        selected = select(order, labels)
        assert selected.frame.equals(once.frame)
        assert selected.left_out == once.left_out | {"repeated": 50}


def test_what_arrived_after_training_time_is_not_seen() -> None:
    features, labels = payments()
    late = pl.when(pl.col("noise") > 1).then(pl.lit(END + DAY)).otherwise(pl.col("known_at"))
    selected = select(features.with_columns(known_at=late), labels)
    assert selected.frame["noise"].max() <= 1


def test_the_snapshot_names_the_content() -> None:
    features, labels = payments(6000)
    first = select(features, labels)
    assert (
        select(features.sample(fraction=1.0, shuffle=True, seed=3), labels.reverse()).snapshot
        == first.snapshot
    )
    changed = features.with_columns(
        pl.col("noise") + pl.when(pl.col("payment_id") == "p-002000").then(1e-3).otherwise(0)
    )
    assert select(changed.cast({"noise": pl.Float32}), labels).snapshot != first.snapshot
    assert select(features, labels.tail(-30)).snapshot != first.snapshot


def test_missing_columns_and_windows_without_fraud_say_what_to_do() -> None:
    features, labels = payments(6000)
    with pytest.raises(TrainingError, match="missing: speed"):
        select(features.drop("speed"), labels)
    with pytest.raises(TrainingError, match="missing: known_at"):
        select(features, labels.drop("known_at"))
    with pytest.raises(TrainingError, match="train window should hold frauds"):
        select(features, labels.clear())
    with pytest.raises(TrainingError, match="No payment was known"):
        select(features, labels, trained_at=START - DAY)


@pytest.mark.parametrize("days", [12, 30, 90, 157, 400])
def test_windows_chosen_from_the_range_leave_most_of_it_to_training(days: int) -> None:
    windows = choose_windows(START, START + days * DAY, MATURITY)
    assert windows.test_to == START + (days - 7) * DAY
    assert windows.delay == MATURITY or days < 36
    assert DAY <= windows.test_to - windows.test_from <= 14 * DAY
    assert windows.train_to - windows.train_from >= (windows.test_to - START) * 0.4
    assert windows.train_from >= START


def test_a_history_that_ended_long_ago_is_split_up_to_its_own_end() -> None:
    features, labels = payments()
    one = features.tail(1)
    today = END + 3000 * DAY
    live = one.with_columns(paid_at=pl.lit(today), known_at=pl.lit(today), payment_id=pl.lit("p-live"))
    selected = select(pl.concat([features, live.select(features.columns)]), labels, trained_at=today)
    assert selected.windows.test_to == END
    assert selected.left_out["immature"] == 1


def test_windows_can_be_the_handbooks() -> None:
    windows = choose_windows(START, END, MATURITY, test=7 * DAY, delay=7 * DAY, train=7 * DAY)
    assert (
        windows.train_to - windows.train_from
        == windows.test_to - windows.test_from
        == windows.delay
        == 7 * DAY
    )


def test_windows_that_do_not_fit_say_what_to_do() -> None:
    with pytest.raises(TrainingError, match="Ingest a longer history"):
        choose_windows(START, START + 10 * DAY, MATURITY)
    with pytest.raises(TrainingError, match="do not fit"):
        choose_windows(START, END, MATURITY, train=50 * DAY)
    with pytest.raises(TrainingError, match="must follow one another"):
        Windows(START, START, START, START, END)

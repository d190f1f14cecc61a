"""The order of an entity's fold: seq where there is one, else the order in which history became known."""

import numpy as np
import polars as pl
import pytest

from fraud_core.features.order import Epochs, first_reading, fold_order, known_order, out_of_turn
from fraud_core.log import Shard

DAY = 86_400_000


def of(stream: str, number: int = 0, life: str = "i") -> Shard:
    return Shard(stream, number, life)


def order(
    seq: list[int], known_ms: list[int], epoch: list[int] | None = None, reading: list[int] | None = None,
    codes: list[int] | None = None,
) -> list[int]:  # fmt: skip
    known = np.argsort(known_ms, kind="stable")
    return fold_order(
        np.array(codes or [0] * len(seq)), known, np.array(known_ms), np.array(epoch or [1] * len(seq)),
        np.array(seq), 10 * DAY, None if reading is None else np.array(reading),
    ).tolist()  # fmt: skip


def test_history_goes_by_time_known_then_place_in_the_log() -> None:
    frame = pl.DataFrame(
        {"known_at": [2, 1, 1, 1], "_shard": [0, 1, 0, 0], "_offset": [0, 0, 9, 9], "_index": [0, 0, 1, 0]}
    )
    assert known_order(frame).tolist() == [3, 2, 1, 0]


def test_events_of_two_lives_of_the_log_are_not_mixed_by_their_offsets() -> None:
    frame = pl.DataFrame(
        {
            "known_at": [1, 1, 1, 0],
            "_shard": [0] * 4,
            "_incarnation": ["b", "a", "b", "b"],
            "_offset": [1, 2, 3, 9],
        }
    )
    assert known_order(frame).tolist() == [3, 1, 0, 2]


def test_seq_decides_over_arrival_and_follows_plain_history() -> None:
    assert order(seq=[3, 1, -1, 2], known_ms=[10, 20, 99, 30]) == [2, 1, 3, 0]


def test_epochs_follow_each_other() -> None:
    assert order(seq=[1, 2, 9], known_ms=[30, 40, 20], epoch=[2, 2, 1]) == [2, 0, 1]


def test_a_seq_that_began_anew_after_its_state_expired_stays_behind() -> None:
    assert order(seq=[1, 2, 1, 2], known_ms=[0, DAY, 30 * DAY, 31 * DAY]) == [0, 1, 2, 3]


def test_history_read_by_a_rebuild_stands_before_its_epoch() -> None:
    seq, epoch = [1, 1, -1, -1, -1], [1, 2, 0, 0, 0]
    known = [50, 150, 10, 90, 180]  # the rebuild of epoch 2 had read up to 100
    reading = first_reading(pl.DataFrame({"_epoch": epoch}), np.array(known), {1: 20, 2: 100})
    assert reading is not None
    assert order(seq, known, epoch, reading.tolist()) == [2, 0, 3, 1, 4]


def test_what_a_rebuild_had_read_can_be_told_by_offsets() -> None:
    frame = pl.DataFrame(
        {
            "_stream": ["t", "t", "t", "d"],
            "_shard": [0, 0, 1, 0],
            "_incarnation": ["i"] * 4,
            "_offset": [5, 6, 1, 9],
            "_epoch": [None, 3, None, 1],
        }
    )
    cuts: Epochs = {2: {of("t"): 5}, 3: {of("t"): 6, of("t", 1): 0, of("d"): 9, of("t", life="former"): 7}}
    reading = first_reading(frame, np.zeros(4, np.int64), cuts)
    assert reading is not None
    assert reading.tolist() == [2, 3, 4, 3]
    assert first_reading(frame, np.zeros(4, np.int64), None) is None


def test_rows_without_the_entity_are_left_out_and_entities_kept_together() -> None:
    assert order(seq=[-1] * 5, known_ms=[5, 4, 3, 2, 1], codes=[1, -1, 0, 1, 0]) == [4, 2, 3, 0]


@pytest.mark.parametrize("rebuilds", [0, 1, 3])
@pytest.mark.parametrize("by_time", [False, True])
def test_what_precedes_an_event_was_known_before_it_or_is_told_as_out_of_turn(
    rebuilds: int, by_time: bool
) -> None:
    told = 0
    for seed in range(80):
        random = np.random.default_rng(seed)
        size = 30
        scored = random.random(size) < random.choice([0.0, 0.3])
        shards, known = random.integers(0, 3, size), np.sort(random.integers(0, 1000, size))
        epoch = np.sort(random.integers(1, 2 + rebuilds, size))
        frame = pl.DataFrame(
            {
                "known_at": pl.Series(known * 1000).cast(pl.Datetime("us", "UTC")),
                "_stream": np.where(scored, "decisions", "transactions"),
                "_shard": shards,
                "_incarnation": "i",
                "_offset": np.arange(size),
                "_epoch": pl.Series(np.where(scored, epoch, -1)).replace(-1, None),
            }
        )
        ends = np.sort(random.integers(-1, size, (rebuilds, 3)), axis=0)
        epochs: Epochs = {
            2 + k: int(known[max(ends[k])])
            if by_time
            else {of("transactions", shard): int(end) for shard, end in enumerate(ends[k])}
            for k in range(rebuilds)
        }
        folded = fold_order(
            np.zeros(size, np.int64), known_order(frame), known, frame["_epoch"].fill_null(0).to_numpy(),
            np.where(scored, np.arange(size), -1), 10 * DAY, first_reading(frame, known, epochs),
        )  # fmt: skip
        start = int(random.integers(size))
        mine = np.arange(start, min(start + 5, size))
        place = np.argsort(folded)
        before = place < place[mine].max()
        later = known > known[mine].max()
        kept = frame.with_columns(kept=out_of_turn(frame[mine], epochs))["kept"].to_numpy()
        assert kept[before & later].all()
        told += int((before & later).sum())
    assert told

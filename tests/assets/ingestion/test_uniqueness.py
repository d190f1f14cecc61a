"""The uniqueness window against a plain dictionary, and a window that rolled against one that was loaded."""

from collections import OrderedDict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_assets.ingestion.uniqueness import (
    DUPLICATE,
    NEW,
    NOT_JUDGED,
    OTHER_BODY,
    Identities,
    UniquenessWindow,
)

events = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2), st.booleans()), max_size=15)


def identities(batch: list[tuple[int, int, bool]]) -> tuple[Identities, np.ndarray]:
    keys = np.array([key for key, _, _ in batch], dtype=np.uint64)
    bodies = np.array([body for _, body, _ in batch], dtype=np.uint64)
    # Few first hashes, so that keys meet in one slot.
    return Identities(keys % np.uint64(5), keys, bodies), np.array([ok for _, _, ok in batch], dtype=np.bool_)


@settings(deadline=None)  # the first call compiles
@given(plans=st.lists(events, max_size=12), size=st.integers(0, 8))
def test_a_window_is_the_last_valid_events_before_each_plan(
    plans: list[list[tuple[int, int, bool]]], size: int
) -> None:
    window = UniquenessWindow(size)
    kept: OrderedDict[int, int] = OrderedDict()
    for batch in plans:
        expected = []
        for key, body, candidate in batch:
            if not candidate:
                expected.append(NOT_JUDGED)
            elif key in kept:
                expected.append(DUPLICATE if kept[key] == body else OTHER_BODY)
            else:
                kept[key] = body
                expected.append(NEW)
        assert window.judge(*identities(batch)).tolist() == expected
        window.settle()
        while len(kept) > size:
            kept.popitem(last=False)
        assert len(window) == len(kept)


@settings(deadline=None)  # the first call compiles
@given(plans=st.lists(events, min_size=1, max_size=12), size=st.integers(1, 8), cut=st.integers(0, 11))
def test_a_loaded_window_judges_like_one_that_rolled(
    plans: list[list[tuple[int, int, bool]]], size: int, cut: int
) -> None:
    rolled = UniquenessWindow(size)
    valid: list[tuple[int, int, bool]] = []
    for number, batch in enumerate(plans):
        loaded = UniquenessWindow(size)
        history = valid[-size - cut :]  # at least as many as the window holds, as the ledger's ranges give
        for start in range(0, len(history), 4):
            loaded.take(identities(history[start : start + 4])[0])
        verdicts = rolled.judge(*identities(batch))
        rolled.settle()
        assert loaded.judge(*identities(batch)).tolist() == verdicts.tolist(), number
        valid += [row for row, verdict in zip(batch, verdicts.tolist(), strict=True) if verdict == NEW]


def test_memory_stays_bounded_however_many_events_pass() -> None:
    window = UniquenessWindow(10_000)
    generator = np.random.default_rng(1)
    for _ in range(60):
        hashes = generator.integers(0, 2**63, 5_000).astype(np.uint64)
        verdicts = window.judge(Identities(hashes, hashes, hashes), np.ones(5_000, dtype=np.bool_))
        assert not verdicts.any()
        window.settle()
    assert len(window) == 10_000
    assert len(window._ring) < 20_000
    assert len(window._slots) <= 2 * 65_536

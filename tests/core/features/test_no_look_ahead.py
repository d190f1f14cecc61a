"""No value at or before t changes when everything after t (events and labels) is deleted or altered."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fraud_core.features import FeatureSet, compute_offline
from fraud_core.features.labels import DELAY_MS
from tests.core.features.world import make_world


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.05, 0.95), delete=st.booleans())
def test_what_happens_after_t_changes_nothing_at_or_before_t(
    features: FeatureSet, seed: int, share: float, delete: bool
) -> None:
    world = make_world(seed, 400)
    cut = int(world.frame.height * share)
    kept, rest = world.frame[:cut], world.frame[cut:]
    now = kept["known_at"].max()
    # A label unknown at the time of the newest event so far cannot have been in force for any event so far.
    known = world.labels.filter((pl.col("known_at") <= now) & pl.col("id").is_in(kept["id"].implode()))
    expected = compute_offline(features, world.frame, world.labels)[:cut]

    if delete:
        events, labels = kept, known
    else:
        strange = rest.with_columns(
            amount=pl.col("amount") + 77,
            payer=pl.lit("p0"),
            at=pl.col("at") + timedelta(hours=5),
            kind=pl.lit("web"),
        )
        lies = world.frame.select(
            "id", is_fraud=pl.lit(True), known_at=pl.lit(now) + timedelta(milliseconds=1)
        )
        events, labels = pl.concat([kept, strange]), pl.concat([known, lies])

    assert compute_offline(features, events, labels)[:cut].equals(expected, null_equal=True)


@pytest.mark.parametrize("late_ms", [DELAY_MS, 3_600_000])
def test_the_check_would_notice_a_leak(features: FeatureSet, late_ms: int) -> None:
    world = make_world(3, 400)
    sooner = world.labels.with_columns(known_at=pl.col("known_at") - timedelta(milliseconds=late_ms))
    assert not compute_offline(features, world.frame, sooner).equals(
        compute_offline(features, world.frame, world.labels), null_equal=True
    )

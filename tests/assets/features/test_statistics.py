"""Statistics of the feature table: exact counts, the same however they are built, and shifts that show."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fraud_assets.features import FEATURES, build_features, plots
from fraud_assets.features.shift import LARGE_SHIFT, SHIFT, psi, shifts
from fraud_assets.features.statistics import bin_of, build_statistics, read_statistics
from fraud_assets.lake import open_lake
from fraud_core.settings import Settings
from tests.assets.history import END, declarations

LAST = END.date() - timedelta(days=1)
FIRST = LAST - timedelta(days=9)


def day_of(values: np.ndarray, day: date = LAST, hash_: str = "h") -> dict[str, object]:
    """One row of the statistics, made of values as the asset would."""
    frame = pl.DataFrame({"value": values}).with_columns(bin=bin_of(pl.col("value").fill_nan(None)))
    counted = frame.drop_nulls("bin").group_by("bin").len().sort("bin")
    return {
        "event_date": day, "feature": "amount", "feature_hash": hash_, "rows": len(values),
        "nulls": int(np.isnan(values).sum()), "bins": counted["bin"].to_list(), "counts": counted["len"].to_list(),
    }  # fmt: skip


def test_bins_grow_with_the_value_and_hold_every_number() -> None:
    values = [-np.inf, -1e30, -2.0, -1.0, -1e-30, 0.0, 1e-30, 1.0, 1.1, 2.0, 1e30, np.inf]
    places = pl.DataFrame({"value": values}).select(bin_of(pl.col("value"))).to_series()
    assert places.to_list() == sorted(places.to_list())
    assert places.null_count() == 0
    assert places[5] == 0
    assert places[9] - places[7] == 4, "four bins an octave"


def test_equal_distributions_have_no_shift_and_others_have() -> None:
    rng = np.random.default_rng(1)
    usual = [day_of(rng.lognormal(3, 1, 4000)) for _ in range(5)]
    assert psi(usual, [day_of(rng.lognormal(3, 1, 4000))]) < 0.02
    assert SHIFT / 2 < psi(usual, [day_of(rng.lognormal(3.4, 1, 4000))]) < LARGE_SHIFT
    assert psi(usual, [day_of(rng.lognormal(5, 1, 4000))]) > 1
    absent = np.where(rng.random(4000) < 0.5, np.nan, rng.lognormal(3, 1, 4000))
    assert psi(usual, [day_of(absent)]) > LARGE_SHIFT, "absent values are a bin of their own"


def test_a_day_is_compared_only_with_days_on_which_the_feature_meant_the_same() -> None:
    rng = np.random.default_rng(2)
    days = [day_of(rng.normal(size=500), LAST - timedelta(days=back), hash_="old") for back in (3, 2, 1)]
    days.append(day_of(rng.normal(size=500), LAST, hash_="new"))
    found = shifts(pl.DataFrame(days))
    assert found["event_date"].to_list() == [LAST - timedelta(days=2), LAST - timedelta(days=1)]


@pytest.mark.valkey
def test_the_table_holds_what_the_features_of_each_day_are(past_settings: Settings) -> None:
    lake = open_lake(past_settings)
    contracts, features = declarations(past_settings)
    build_features(lake, contracts, features, FIRST, LAST)
    built = build_statistics(lake, features, FIRST, LAST)
    rows = lake.scan(FEATURES).collect()
    found = read_statistics(lake, FIRST, LAST)
    assert (built.days, built.rows, found.height) == (10, rows.height, 10 * len(features.names))
    for each in found.filter(event_date=LAST).iter_rows(named=True):
        values = rows.filter(event_date=LAST)[each["feature"]].fill_nan(None)
        assert (each["rows"], each["nulls"]) == (len(values), values.null_count())
        assert sum(each["counts"]) == len(values) - values.null_count()
        assert (each["minimum"], each["maximum"]) == (values.min(), values.max())
        assert each["q50"] == values.cast(pl.Float64).quantile(0.5)
    moved = shifts(found)
    for picture in (plots.shift_map(moved), plots.null_map(found), plots.shift_map(moved.clear())):
        assert picture.startswith(b"\x89PNG")

    build_statistics(lake, features, LAST, LAST)
    again = read_statistics(lake, FIRST, LAST)
    place = ["event_date", "feature"]
    assert_frame_equal(again.sort(place), found.sort(place))

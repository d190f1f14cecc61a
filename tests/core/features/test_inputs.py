"""One event as JSON and the same event in a frame become the same integers."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_core.features import inputs
from fraud_core.features.inputs import Frame, reader, time_ms
from fraud_core.features.plan import NULL, VALUE_LIMIT, Input, InputKind

moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
texts = st.text(max_size=12)
CASES: dict[InputKind, tuple[Input, st.SearchStrategy[Any], pl.DataType, Any]] = {
    InputKind.TIME: (Input(InputKind.TIME, "v"), moments, pl.Datetime("us", "UTC"), datetime.isoformat),
    InputKind.DATE: (Input(InputKind.DATE, "v"), st.dates(date(1900, 1, 1)), pl.Date(), date.isoformat),
    InputKind.NUMBER: (
        Input(InputKind.NUMBER, "v", 1e6), st.floats(allow_nan=True, allow_infinity=True), pl.Float64(), None,
    ),
    InputKind.FLAG: (Input(InputKind.FLAG, "v"), st.booleans(), pl.Boolean(), None),
    InputKind.HASH: (Input(InputKind.HASH, "v"), texts, pl.String(), None),
    InputKind.ENUM: (
        Input(InputKind.ENUM, "v", categories=("a", "b")), st.sampled_from(["a", "b", "c"]), pl.String(), None,
    ),
    InputKind.DIGITS: (Input(InputKind.DIGITS, "v"), texts | st.from_regex(r"\A[0-9]{1,14}\Z"), pl.String(), None),
    InputKind.BUCKET: (Input(InputKind.BUCKET, "v", 97.0), texts, pl.String(), None),
    InputKind.CELL: (Input(InputKind.CELL, "v"), texts, pl.String(), None),
}  # fmt: skip


def test_every_kind_of_input_is_compared() -> None:
    assert set(CASES) == set(InputKind)


@pytest.mark.parametrize("kind", list(InputKind), ids=lambda kind: kind.name.lower())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_both_faces_read_the_same_integer(kind: InputKind, data: st.DataObject) -> None:
    source, strategy, dtype, as_json = CASES[kind]
    values = data.draw(st.lists(st.none() | strategy, min_size=1, max_size=20))
    column = Frame(pl.DataFrame({"v": pl.Series(values, dtype=dtype)})).column(source).tolist()
    read = reader(source)
    assert [
        read({"v": value if value is None or not as_json else as_json(value)}) for value in values
    ] == column
    assert all(value == NULL or -(2**47) < value < 2**47 for value in column)


@pytest.mark.parametrize("value", [0, 7, -7, 2**40, 2**45, -(2**62), None])
def test_whole_numbers_saturate_alike(value: int | None) -> None:
    source = Input(InputKind.NUMBER, "v")
    column = Frame(pl.DataFrame({"v": pl.Series([value], dtype=pl.Int64)})).column(source)
    expected = NULL if value is None else max(min(value, VALUE_LIMIT), -VALUE_LIMIT)
    assert column.tolist() == [expected] == [reader(source)({"v": value})]


def test_a_field_that_is_missing_is_null() -> None:
    source = Input(InputKind.HASH, "w")
    assert Frame(pl.DataFrame({"v": ["x"]})).column(source).tolist() == [NULL] == [reader(source)({"v": "x"})]


def test_times_count_from_utc() -> None:
    assert time_ms("1970-01-01T00:00:01.2349Z") == 1234
    assert time_ms(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 0


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.none() | texts, max_size=40), buckets=st.sampled_from([1, 3, 2**63]))
def test_texts_are_told_apart_whether_or_not_their_hashes_are(values: list[str | None], buckets: int) -> None:
    hashed = inputs._hashes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "_hashes", lambda text: hashed(text) % np.uint64(buckets))
        codes, different = Frame(pl.DataFrame({"v": pl.Series(values, dtype=pl.String)})).coded("v")
    assert [None if code < 0 else different[code] for code in codes] == values
    assert len(different) == len({value for value in values if value is not None})

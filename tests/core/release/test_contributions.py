"""Contributions from plain arrays of trees (equality with XGBoost is tested where models are trained)."""

import dataclasses

import numpy as np
import pytest

from fraud_core.errors import BundleError
from fraud_core.release.contributions import Trees


def stump() -> Trees:
    """One split on feature 1 at 10: lower or missing -> -1, else +2; expected value 0.5."""
    return Trees(
        roots=np.array([0], np.int32),
        left=np.array([1, -1, -1], np.int32),
        right=np.array([2, -1, -1], np.int32),
        feature=np.array([1, 0, 0], np.int32),
        threshold=np.array([10, -1, 2], np.float32),
        missing_left=np.array([True, False, False]),
        value=np.array([0.5, -1.0, 2.0]),
        bias=0.5,
        feature_count=2,
    )


def test_a_split_hands_the_change_of_the_expected_value_to_its_feature() -> None:
    vectors = np.array([[0, 9], [0, 10], [0, np.nan], [np.nan, np.inf], [0, -np.inf]], np.float32)
    found = stump().contributions(vectors)
    np.testing.assert_array_equal(found[:, 1], [-1.5, 1.5, -1.5, 1.5, -1.5])
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_array_equal(found[:, 2], 0.5)


def test_only_what_raises_the_score_is_a_reason() -> None:
    assert list(stump().raising(np.array([0, 50], np.float32))) == [(1, 1.5)]
    assert list(stump().raising(np.array([0, 1], np.float32))) == []


def test_trees_survive_their_file() -> None:
    again = Trees.from_npz(stump().to_npz())
    for field in dataclasses.fields(Trees):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(stump(), field.name))


@pytest.mark.parametrize(
    "change",
    [
        {"left": np.array([0, -1, -1], np.int32)},
        {"left": np.array([7, -1, -1], np.int32)},
        {"right": np.array([-1, -1, -1], np.int32)},
        {"feature": np.array([2, 0, 0], np.int32)},
        {"feature": np.array([-1, 0, 0], np.int32)},
        {"roots": np.array([3], np.int32)},
        {"value": np.array([0.5])},
    ],
)
def test_trees_that_would_be_walked_out_of_bounds_or_for_ever_are_refused(
    change: dict[str, np.ndarray],
) -> None:
    with pytest.raises(BundleError, match="children follow their parents"):
        Trees.from_npz(dataclasses.replace(stump(), **change).to_npz())


def test_a_file_that_holds_no_trees_or_a_pickle_is_refused() -> None:
    import io

    for arrays in ({"left": np.zeros(3)}, {"roots": np.array([{"a": 1}], dtype=object)}):
        file = io.BytesIO()
        np.savez(file, **arrays)
        with pytest.raises(BundleError, match=r"trees\.npz"):
            Trees.from_npz(file.getvalue())
    with pytest.raises(BundleError, match=r"trees\.npz"):
        Trees.from_npz(b"no archive")


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(BundleError, match="should have 2 features"):
        stump().contributions(np.zeros((1, 3), np.float32))

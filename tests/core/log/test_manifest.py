"""The producer's witness: sums that do not depend on order, batch or process."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_core.errors import DataFileError
from fraud_core.log import Manifest, id_hash_sum, id_hashes

some_ids = st.lists(st.text(max_size=100), max_size=20)


@given(some_ids, st.randoms())
def test_a_hash_does_not_depend_on_the_ids_beside_it(ids: list[str], random: object) -> None:
    together = id_hashes(ids)
    alone = [int(id_hashes([item])[0]) for item in ids]
    assert together.tolist() == alone
    assert id_hash_sum(ids) == sum(alone) % 2**64


def test_hashes_stay_what_they_are() -> None:
    """The definition is a format: other producers may have written manifests with it."""
    assert [
        f"{value:016x}"
        for value in id_hashes(["", "a", "tx-00000001", "é" * 30, "x" * 64, "y" * 65]).tolist()
    ] == [
        "0000000000000000",
        "0723d2d20570d857",
        "bcc810c5f0059c2e",
        "beabb945207cd4b4",
        "1c97a47c73c83778",
        "af0d7bb8e6e0dcc3",
    ]


def test_hashes_of_many_ids_are_distinct() -> None:
    hashes = id_hashes([f"tx-{number:09d}" for number in range(200_000)])
    assert len(np.unique(hashes)) == 200_000


def test_manifests_of_two_producers_add_up(tmp_path: Path) -> None:
    one, two, both = Manifest(), Manifest(), Manifest()
    one.add("transactions", ["a", "b", "a"], unreadable=1)
    two.add("transactions", ["c"])
    two.add("labels", ["a"])
    both.add("transactions", ["c", "a", "a", "b"], unreadable=1)
    both.add("labels", ["a"])
    one.merge(two)
    one.save(tmp_path / "manifest.json")
    assert Manifest.load(tmp_path / "manifest.json") == both
    assert both.streams["transactions"].events == 5
    assert both.streams["transactions"].ids == 4


def test_a_file_that_is_no_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("[]")
    with pytest.raises(DataFileError, match=r"m\.json"):
        Manifest.load(tmp_path / "m.json")

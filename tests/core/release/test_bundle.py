"""Release bundles: complete or absent, and proved at every load."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fraud_core.errors import BundleError
from fraud_core.release import Bundle, Golden, list_bundles, load_bundle, write_bundle
from tests.core.release.samples import golden_of, manifest_of

Write = Callable[..., Bundle]


def test_a_bundle_reads_back_as_it_was_written(release_bundle: Write) -> None:
    bundle = release_bundle()
    again = load_bundle(bundle.path)
    assert again == bundle
    assert again.version == bundle.path.name
    assert again.version.startswith("m-20260901T120000Z-")
    assert again.read("model.onnx") == b"onnx"
    assert again.manifest.features == ("amount", "night")
    assert json.loads((bundle.path / "manifest.json").read_text())["training"]["from"].startswith(
        "2026-09-01"
    )


def test_the_same_content_has_the_same_version_and_other_content_another(release_bundle: Write) -> None:
    first = release_bundle()
    written = (first.path / "manifest.json").stat().st_mtime_ns
    assert release_bundle().version == first.version
    assert (first.path / "manifest.json").stat().st_mtime_ns == written
    assert release_bundle(b"another").version != first.version


@pytest.mark.parametrize("name", ["model.ubj", "model.onnx", "golden.json"])
def test_an_altered_file_is_named_with_what_to_do(release_bundle: Write, name: str) -> None:
    path = release_bundle().path / name
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match=rf"{name} was altered .*spearhead release rollback"):
        load_bundle(path.parent)


def test_an_altered_manifest_does_not_fit_its_digest(release_bundle: Write) -> None:
    path = release_bundle().path / "manifest.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"decline": 0.75', '"decline": 0.99'))
    with pytest.raises(BundleError, match=r"manifest\.json was altered"):
        load_bundle(path.parent)


def test_a_missing_file_an_unlisted_file_and_a_renamed_folder_are_refused(release_bundle: Write) -> None:
    bundle = release_bundle()
    (bundle.path / "extra.py").write_text("")
    with pytest.raises(BundleError, match=r"extra\.py is in the folder but not in the manifest"):
        load_bundle(bundle.path)
    (bundle.path / "extra.py").unlink()
    moved = bundle.path.rename(bundle.path.with_name("m-20260901T120000Z-00000000"))
    with pytest.raises(BundleError, match="should be named"):
        load_bundle(moved)
    bundle = Bundle(moved.rename(bundle.path), bundle.manifest)
    (bundle.path / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx should be readable"):
        load_bundle(bundle.path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 2}', "not json"])
def test_a_manifest_that_is_none_is_refused(release_bundle: Write, content: str) -> None:
    path = release_bundle().path / "manifest.json"
    path.chmod(0o644)
    path.write_text(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(path.parent)


def test_a_folder_that_is_no_bundle_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=str(tmp_path)):
        load_bundle(tmp_path / "m-none")


def test_a_bundle_without_a_model_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx"):
        write_bundle(tmp_path, manifest_of("amount"), {"model.ubj": b"x", "golden.json": b"[]"})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    files = {"model.ubj": b"x", "model.onnx": b"x", "golden.json": b"[]", "no/such/folder": b"x"}
    with pytest.raises(BundleError, match="nothing half-written"):
        write_bundle(tmp_path, manifest_of("amount"), files)
    assert list(tmp_path.iterdir()) == []


def test_files_are_read_only_and_half_written_folders_are_not_listed(release_bundle: Write) -> None:
    bundle = release_bundle()
    assert not any(stat.S_IMODE(file.stat().st_mode) & 0o222 for file in bundle.path.iterdir())
    (bundle.path.parent / ".m-20260901T120000Z-ffffffff-tmp").mkdir()
    (bundle.path.parent / "m-20260901T120000Z-ffffffff").mkdir()
    assert list_bundles(bundle.path.parent) == (bundle.version,)
    assert list_bundles(bundle.path / "nowhere") == ()


def test_golden_rows_must_have_the_width_of_the_features(tmp_path: Path) -> None:
    files = {"model.ubj": b"x", "model.onnx": b"x", "golden.json": golden_of(3).to_json()}
    with pytest.raises(BundleError, match="should have 2 values, and have 3"):
        write_bundle(tmp_path, manifest_of("amount", "night"), files).golden()


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(width=32)
    ),
    st.data(),
)
def test_golden_rows_survive_json_bit_for_bit(vectors: np.ndarray, data: st.DataObject) -> None:
    scores = data.draw(hnp.arrays(np.float32, len(vectors), elements=st.floats(0, 1, width=32)))
    again = Golden.from_json(Golden(vectors, scores).to_json())
    np.testing.assert_array_equal(again.vectors, vectors)
    np.testing.assert_array_equal(again.scores, scores)
    # Signs of zeros and infinities too; a NaN may carry another payload.
    known = ~np.isnan(vectors)
    assert again.vectors[known].tobytes() == vectors[known].tobytes()


def test_golden_rows_refuse_a_backend_that_scores_otherwise() -> None:
    golden = golden_of(2)
    assert golden.check(lambda _: golden.scores, "this backend") == 0.0
    with pytest.raises(BundleError, match="Triton should score golden row 2"):
        golden.check(lambda _: golden.scores + np.float32([0, 0, 2e-6]), "Triton")
    with pytest.raises(BundleError, match="golden row 1"):
        golden.check(lambda _: np.float32([0.1, np.nan, 0.5]), "Triton")
    with pytest.raises(BundleError, match="shape"):
        golden.check(lambda _: np.zeros((3, 2)), "Triton")
    with pytest.raises(BundleError, match="array of"):
        Golden.from_json(b'{"vector": 1}')

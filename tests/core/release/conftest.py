"""A small sound bundle, written without any model library."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fraud_core.release import Bundle, write_bundle
from tests.core.release.samples import golden_of, manifest_of


@pytest.fixture
def release_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Writes a bundle into <tmp>/bundles; another `model` gives another version."""

    def write(model: bytes = b"onnx") -> Bundle:
        files = {"model.ubj": b"ubj", "model.onnx": model, "golden.json": golden_of(2).to_json()}
        return write_bundle(tmp_path / "bundles", manifest_of("amount", "night"), files)

    return write

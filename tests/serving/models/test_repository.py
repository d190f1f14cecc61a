"""Triton's repository against what crashes and full disks leave in it."""

from pathlib import Path

from fraud_serving.models.repository import publish, withdraw
from tests.serving.samples import make_bundle


def test_publishing_again_mends_what_is_there_and_touches_nothing_that_is_sound(tmp_path: Path) -> None:
    bundle, repository = make_bundle(tmp_path / "bundles"), tmp_path / "repository"
    publish(bundle, repository)
    model, config = (repository / bundle.version / name for name in ("1/model.onnx", "config.pbtxt"))
    sound, written = (bundle.path / "model.onnx").read_bytes(), model.stat().st_mtime_ns
    assert model.read_bytes() == sound
    publish(bundle, repository)
    assert model.stat().st_mtime_ns == written

    told = config.read_text()
    model.write_bytes(b"")
    config.write_text("cut o")
    publish(bundle, repository)
    assert (model.read_bytes(), config.read_text()) == (sound, told)
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]
    withdraw(bundle.version, repository)
    assert list(repository.iterdir()) == []

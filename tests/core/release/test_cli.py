"""`spearhead release`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraud_core.errors import AliasConflict
from fraud_core.release import Bundle, PathAliasStore, challenge
from fraud_core.release.cli import app

Write = Callable[..., Bundle]
BY = ["--approver", "ada", "--reason", "the canary matured"]


@pytest.fixture(autouse=True)
def _bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPEARHEAD_BUNDLES", str(tmp_path / "bundles"))


def release(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_empty_folder_says_how_the_first_release_is_made() -> None:
    assert "No release bundle" in release("list")


def test_a_person_sees_promotes_and_rolls_back(tmp_path: Path, release_bundle: Write) -> None:
    first, second = release_bundle(b"1").version, release_bundle(b"2").version
    assert f"champion {first}" in release("bootstrap", first, *BY)
    store = PathAliasStore(tmp_path / "bundles")
    challenge(store, store.folder, second, actor="graph", reason="passed the gate")
    listed = json.loads(release("list", "--json"))
    assert {row["version"]: row["alias"] for row in listed["bundles"]} == {
        first: "champion",
        second: "challenger",
    }
    assert "generation 2" in release("list")
    assert json.loads(release("show", first))["model_version"] == first
    assert f"champion {second}" in release("promote", second, *BY)
    assert f"champion {first}" in release("rollback", *BY)
    assert [entry["actor"] for entry in json.loads(release("audit", "--json"))] == [
        "ada",
        "graph",
        "ada",
        "ada",
    ]
    assert "rollback" in release("audit")


def test_promoting_what_did_not_pass_the_gate_is_refused(release_bundle: Write) -> None:
    with pytest.raises(AliasConflict, match="Only the challenger"):
        release("promote", release_bundle().version, *BY)


def test_a_damaged_bundle_is_shown_as_such_in_the_list(release_bundle: Write) -> None:
    path = release_bundle().path / "manifest.json"
    path.chmod(0o644)
    path.write_text("{}")
    assert "error" in json.loads(release("list", "--json"))["bundles"][0]

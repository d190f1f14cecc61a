"""`spearhead settings`: the reference is complete, secrets stay hidden, .env.example is what it would print."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraud_core.cli import app
from fraud_core.cli.settings import render_env_example
from fraud_core.errors import SettingsError
from fraud_core.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
runner = CliRunner()


def test_every_setting_is_documented_in_one_line() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} needs a docstring line under its field"
        assert "\n" not in field.description, name


@pytest.mark.snapshot
def test_the_committed_env_example_is_what_the_settings_say() -> None:
    committed = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert committed == render_env_example(), "run `make snapshots` and commit the change"


def test_env_example_with_every_line_uncommented_gives_the_defaults(tmp_path: Path) -> None:
    lines = [
        line[1:] if line.startswith("#SPEARHEAD_") else line for line in render_env_example().splitlines()
    ]
    env = tmp_path / "env"
    env.write_text("\n".join(lines), encoding="utf-8")
    settings = load_settings(_env_file=env)
    for name, field in Settings.model_fields.items():
        if name != "contracts":
            assert getattr(settings, name) == field.default, name


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEARHEAD_S3_SECRET_KEY", "correct horse")
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", "redis://:correct%20horse@db:6379/0")
    for arguments in (["settings"], ["settings", "--json"]):
        output = runner.invoke(app, arguments).output
        assert "horse" not in output
        assert "****" in output


def test_another_file_than_env_can_be_named_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("SPEARHEAD_NAMESPACE=usual\n", encoding="utf-8")
    Path("other.env").write_text("SPEARHEAD_NAMESPACE=other\n", encoding="utf-8")
    assert load_settings().namespace == "usual"
    monkeypatch.setenv("SPEARHEAD_ENV_FILE", "other.env")
    assert load_settings().namespace == "other"
    monkeypatch.setenv("SPEARHEAD_ENV_FILE", "")
    assert load_settings().namespace == "spearhead"
    monkeypatch.setenv("SPEARHEAD_ENV_FILE", "absent.env")
    with pytest.raises(SettingsError, match=r"absent\.env is none"):
        load_settings()


def test_json_holds_every_setting() -> None:
    shown = json.loads(runner.invoke(app, ["settings", "--json"]).output)
    assert set(shown) == set(Settings.model_fields)


def test_only_the_settings_read_the_environment() -> None:
    # Writing is no reading: what a library takes from the environment has to be put there.
    allowed = {
        "fraud_core/settings.py",
        "fraud_core/platform/process.py",  # passes it on to services, unread
    }
    for package in ("fraud_core", "fraud_assets", "fraud_serving"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            found = re.search(
                r"os\.(getenv|environ(?!\.(update|setdefault)\())", path.read_text(encoding="utf-8")
            )
            assert found is None or name in allowed, (
                f"{name} uses {found and found.group()}: make it a setting"
            )

"""Addresses and folders are refused early, and no password is shown."""

import os
from pathlib import Path

import psutil
import pytest

from fraud_core.addresses import redacted
from fraud_core.errors import SettingsError
from fraud_core.platform.state import PlatformState, ServiceState, write_state
from fraud_core.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:secret@db:6379/0", "redis://***@db:6379/0"),
        ("rediss://ann:se@cret@db:6379/0", "rediss://***@db:6379/0"),
        ("redis://db:6379/0?password=secret&db=1", "redis://db:6379/0?password=***&db=1"),
        ("redis://db:6379/0", "redis://db:6379/0"),
        ("/a/path@place", "/a/path@place"),
        ("ann:secret@db:6379", "***@db:6379"),
        ("redis:/:se@cret@db:6379/0", "***@db:6379/0"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, shown: str) -> None:
    assert redacted(address) == shown


@pytest.mark.parametrize(
    "address", ["foo://db", "db:6379", "redis://", "redis://:secret@db:port/0", "ann:secret@db:6379"]
)
def test_an_address_that_is_no_redis_is_refused_with_the_form_it_must_have(address: str) -> None:
    with pytest.raises(
        SettingsError, match=r"SPEARHEAD_REDIS_URL: redis://host:6379/0.* was expected"
    ) as refused:
        load_settings(_env_file=None, redis_url=address)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("address", ["", "redis://db", "rediss://u:p@db:6380/1", "unix:///run/valkey.sock"])
def test_an_address_of_a_redis_is_taken(address: str) -> None:
    assert load_settings(_env_file=None, redis_url=address).redis_url == address


def left_to_be_chosen(home: Path) -> Settings:
    ports = {name: 0 for name in Settings.model_fields if name.endswith("_port")}
    return load_settings(_env_file=None, home=home, **ports)


def platform_of(home: Path, pid: int, **ports: int) -> None:
    """Write down a platform of this process, or of one that has ended."""
    created = psutil.Process().create_time()
    service = ServiceState(
        "some", "ready", pid, 0, "", ports={f"SPEARHEAD_{name}": port for name, port in ports.items()}
    )
    home.mkdir(exist_ok=True)
    write_state(home, PlatformState("token", pid, created, "now", (service,)))


def test_a_port_that_is_still_to_be_chosen_is_no_address(tmp_path: Path) -> None:
    settings = left_to_be_chosen(tmp_path / "home")
    for _ in range(2):
        for address in ("redis_address", "triton_address", "dagster_address"):
            with pytest.raises(
                SettingsError, match=r"SPEARHEAD_.*_PORT=0 .*; no platform runs there. Start the platform"
            ):
                getattr(settings, address)
        platform_of(tmp_path / "home", 2**22 + 1, VALKEY_PORT=7001)  # one that ended without a word
    assert settings.reports_url == (tmp_path / "home" / "reports").as_uri()
    assert settings.changed(redis_url="redis://db").redis_address == "redis://db"
    assert settings.changed(valkey_port=6391).redis_address == "redis://127.0.0.1:6391/0"


def test_a_port_that_was_chosen_is_the_running_platforms(tmp_path: Path) -> None:
    settings = left_to_be_chosen(tmp_path / "home")
    platform_of(tmp_path / "home", os.getpid(), VALKEY_PORT=7001, DAGSTER_PORT=7002, REPORTS_PORT=7003)
    assert settings.redis_address == "redis://127.0.0.1:7001/0"
    assert settings.dagster_address == "http://127.0.0.1:7002"
    assert settings.reports_url == "http://127.0.0.1:7003"
    with pytest.raises(SettingsError, match="the platform that runs there has no such server"):
        _ = settings.triton_address
    assert settings.changed(valkey_port=6391).redis_address == "redis://127.0.0.1:6391/0"


def test_a_home_that_is_a_file_or_under_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".spearhead"
    file.touch()
    for home in (file, file / "below"):
        with pytest.raises(SettingsError, match=r"SPEARHEAD_HOME: a folder was expected, and .* is a file"):
            load_settings(_env_file=None, home=home)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="SPEARHEAD_HOME"):
        load_settings(_env_file=None)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("name", ["commit_interval_s", "ingest_run_s", "claim_ttl_s", "scorer_max_age_s"])
def test_a_number_without_an_end_is_no_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.upper()):
        load_settings(_env_file=None, **{name: value})

"""Redis by TLS: the log works through it, and what does not fit is named. The embedded Valkey speaks none, so a front does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fraud_core.errors import LogUnavailable, SettingsError
from fraud_core.features.connect import open_state_client
from fraud_core.log import json_entry, open_log
from fraud_core.platform.own_checks import check_redis
from fraud_core.redis_connection.address import sentinel_address
from fraud_core.settings import Settings, load_settings
from tests.tls import Certificate, make_certificate, tls_front

WORD = "hid&den@"


@pytest.fixture
def server(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "server")


@pytest.fixture
def client(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "client")


@pytest.fixture
def secure(settings: Settings, server: Certificate, client: Certificate) -> Iterator[Settings]:
    """Settings of a Redis that speaks TLS with whoever shows the client's certificate."""
    with tls_front(int(settings.redis_url.rsplit(":", 1)[1].split("/")[0]), server, client) as port:
        yield settings.changed(
            redis_url=f"rediss://127.0.0.1:{port}/0",
            redis_ca=str(server.certificate),
            redis_certificate=str(client.certificate),
            redis_key=str(client.key),
        )


@pytest.mark.valkey
def test_a_log_by_tls_with_a_certificate_of_ones_own_is_the_same_log(
    settings: Settings, secure: Settings
) -> None:
    log, plain = open_log(secure), open_log(settings)
    offsets = log.append("transactions", [json_entry(b'{"n":%d}' % number) for number in range(3000)])
    (shard,) = plain.shards("transactions")
    for way in (log, plain):
        assert way.read(shard, 0, way.end(shard), 5000).offsets.tolist() == offsets
        way.close()
    with open_state_client(secure) as state:
        assert state.exists("spearhead:log:{transactions}:life")
    checks = {check.name: check for check in check_redis(secure)}
    assert checks["redis tls"].ok
    assert secure.redis_ca in checks["redis tls"].found
    assert secure.redis_certificate in checks["redis tls"].found


@pytest.mark.valkey
@pytest.mark.parametrize("missing", ["redis_ca", "redis_certificate"])
def test_a_certificate_that_does_not_fit_is_refused_with_the_settings_to_look_at(
    secure: Settings, missing: str
) -> None:
    without = {missing: ""} | ({"redis_key": ""} if missing == "redis_certificate" else {})
    wrong = secure.changed(**without)
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:\d+.*SPEARHEAD_REDIS_CA"):
        open_log(wrong)
    (check,) = check_redis(wrong)
    assert not check.ok
    assert "SPEARHEAD_REDIS_CA" in check.advice


def test_files_that_are_none_or_serve_nobody_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("x")
    for values, named in (
        ({"redis_ca": str(tmp_path / "no.pem"), "redis_url": "rediss://db"}, "SPEARHEAD_REDIS_CA: a file"),
        (
            {"redis_ca": str(file), "redis_url": "redis://db"},
            "SPEARHEAD_REDIS_CA: it counts for TLS alone.*rediss",
        ),
        ({"redis_ca": str(file)}, "SPEARHEAD_REDIS_CA.*rediss"),
        ({"redis_key": str(file), "redis_url": "rediss://db"}, "SPEARHEAD_REDIS_CERTIFICATE"),
    ):
        with pytest.raises(SettingsError, match=named):
            load_settings(_env_file=None, **values)


def test_the_password_of_a_key_is_shown_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "own pem"
    file.write_text("x")
    settings = load_settings(
        _env_file=None,
        redis_url="rediss+sentinel://u:p@one:1/main/0",
        redis_ca=str(file),
        redis_key_password=WORD,
    )
    address = sentinel_address(settings.redis_address)
    assert address is not None
    assert address.options == {
        "db": 0,
        "ssl": True,
        "username": "u",
        "password": "p",
        "ssl_ca_certs": str(file),
        "ssl_password": WORD,
    }
    assert address.sentinels == (("one", 1),)
    with pytest.raises(LogUnavailable) as caught:
        open_log(settings.changed(redis_url="rediss+sentinel://u:p@127.0.0.1:1/main/0", redis_ca=""))
    assert "hid" not in str(caught.value)

"""`spearhead features get`, asked as people ask: any id that a shell can give."""

import json

import pytest
import redis
from click.testing import Result
from typer.testing import CliRunner

from fraud_core.cli import app
from fraud_core.contracts import load_contracts
from fraud_core.features import OnlineState, load_features
from fraud_core.settings import load_settings

pytestmark = pytest.mark.valkey


@pytest.fixture
def get(client: redis.Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> "Get":
    """The command, over a state in which nothing was counted yet."""
    monkeypatch.setenv("SPEARHEAD_ENV_FILE", "")
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", valkey_url)
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    OnlineState(client, load_features(contracts.features_path, contracts), settings.namespace).begin()
    return Get()


class Get:
    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["features", "get", *arguments])


@pytest.mark.parametrize("id", ["a/b", "a b", "Zoë 支付", "[/red]", "[bold]x[/bold]"])
def test_an_id_is_shown_as_it_is(get: Get, id: str) -> None:
    shown = get("account", id)
    assert shown.exit_code == 0, shown.output
    assert f"account {id}: never seen; epoch 1" in shown.output
    assert json.loads(get("account", id, "--json").output)["id"] == id


def test_no_id_writes_over_the_terminal(get: Get) -> None:
    shown = get("account", "a\n\x1b[31mb")
    assert r"account 'a\n\x1b[31mb': never seen" in shown.output
    assert "x… (5,000 characters): never seen" in get("account", "x" * 5000).output


@pytest.mark.parametrize("id", ["", "a\udcff"])
def test_what_is_no_text_is_refused_as_wrong_use(get: Get, id: str) -> None:
    refused = get("account", id)
    assert refused.exit_code == 2
    assert "expected the entity's id" in refused.output

"""`spearhead features get`, asked as people ask: any id that a shell can give."""

import json
from typing import Any

import pytest
import redis
from click.testing import Result
from typer.testing import CliRunner

from fraud_core.cli import app
from fraud_core.contracts import load_contracts
from fraud_core.features import OnlineState, load_features
from fraud_core.features.moment import moment_ms, moment_text
from fraud_core.settings import load_settings

pytestmark = pytest.mark.valkey


@pytest.fixture
def get(client: redis.Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> "Get":
    """The command, over a state in which nothing was counted yet."""
    monkeypatch.setenv("SPEARHEAD_ENV_FILE", "")
    monkeypatch.setenv("SPEARHEAD_REDIS_URL", valkey_url)
    settings = load_settings()
    contracts = load_contracts(settings.contracts)
    state = OnlineState(client, load_features(contracts.features_path, contracts), settings.namespace)
    state.begin()
    return Get(state, contracts.transactions.example())


class Get:
    def __init__(self, state: OnlineState, example: dict[str, Any]) -> None:
        self._state, self._example = state, example

    def apply(self, **changes: Any) -> None:
        """Count one payment of the account acc_1."""
        event = self._example | {"account_id": "acc_1"} | changes
        self._state.apply(event, "one")

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


def test_a_payment_may_be_thought_at_any_later_moment(get: Get) -> None:
    get.apply(amount_minor=123_456_789, amount_base_minor=123_456_789)
    by_clock = json.loads(get("account", "acc_1", "--json").output)
    assert (by_clock["seq"], by_clock["as_of_ms"], by_clock["as_of_note"]) == (1, by_clock["clock_ms"], None)
    assert by_clock["features"]["account_count_1h"] == 1
    in_a_day = moment_text(by_clock["clock_ms"] + 86_400_000)
    later = json.loads(get("account", "acc_1", "--as-of", in_a_day, "--json").output)
    assert (moment_text(later["as_of_ms"]), later["as_of_note"]) == (in_a_day, None)
    assert (later["features"]["account_count_1h"], later["features"]["account_count_7d"]) == (0, 1)
    shown = get("account", "acc_1", "--as-of", in_a_day).output
    assert f"1 events, the latest of {moment_text(by_clock['clock_ms'])}; as of {in_a_day}" in shown
    assert "123,456,792" in shown  # the float32 nearest to it, in full


@pytest.mark.parametrize("options", [["--as-of", "2020-01-01"], ["--as-of", "2020-01-01", "--json"]])
def test_a_moment_before_the_clock_is_answered_as_of_the_clock_and_said(get: Get, options: list[str]) -> None:
    get.apply()
    shown = get("account", "acc_1", *options)
    assert shown.exit_code == 0
    assert "Asked for 2020-01-01T00:00:00.000Z, which lies before the entity's clock" in shown.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--as-of", "tomorrow"], "expected to be clock, now or a time"),
        (["--as-of", ""], "found ''"),
        (["--as-of", "1969-12-31"], "after 1970"),
        (["--as-of", "9999-12-31T23:59:59"], "before 6429-"),
        (["--as-of", "0001-01-01T00:00:00+14:00"], "after 1970"),
        (["--as-of", "2026-09-01", "--now"], "give one of the two"),
    ],
)
def test_what_is_no_moment_is_refused_as_wrong_use(get: Get, options: list[str], words: str) -> None:
    refused = get("account", "x", *options)
    assert refused.exit_code == 2
    assert words in " ".join(refused.output.replace("│", " ").split())


def test_a_moment_is_read_to_the_millisecond() -> None:
    for ms in range(1_788_266_096_000, 1_788_266_098_000, 7):
        assert moment_ms(moment_text(ms)) == ms
    assert moment_ms("2026-09-01T14:00:00.25+02:00") == moment_ms("2026-09-01T12:00:00.250")

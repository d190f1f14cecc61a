"""Current features over HTTP: read, never changed; and what an answer promises, for whoever asks."""

import logging
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis

from fraud_core.settings import Settings
from fraud_serving.http.app import HttpApp
from tests.serving.http.test_batches import run
from tests.serving.samples import event

pytestmark = pytest.mark.valkey


def state_of(settings: Settings) -> dict[bytes, bytes]:
    with redis.Redis.from_url(settings.redis_address) as client:
        return {key: client.dump(key) for key in client.scan_iter("spearhead:1:*")}


def test_current_features_are_what_the_next_payment_finds_and_asking_changes_nothing(
    serving: Settings,
) -> None:
    async def body(_: HttpApp, client: httpx.AsyncClient) -> None:
        for amount in (1_000, 3_000):
            scored = await client.post(
                "/v1/score",
                json=event(account_id="acc_000001", amount_minor=amount, amount_base_minor=amount),
            )
            assert scored.status_code == 200
        before = state_of(serving)
        response = await client.get("/v1/features/account/acc_000001", params={"as_of": "clock"})
        found = response.json()
        assert (response.status_code, found["seen"], found["epoch"], found["seq"]) == (200, True, 1, 2)
        assert (found["clock"], found["as_of_note"]) == (found["as_of"], None)
        assert found["features"]["account_count_10m"] == 2
        assert found["features"]["account_amount_1h"] == 4_000
        assert found["features"]["account_max_30d"] == 3_000
        assert found["features"]["account_mean_30d"] == 2_000
        assert "account_new_merchant" in found["needs_payment"]
        later = (
            await client.get("/v1/features/account/acc_000001", params={"as_of": "2046-09-01T00:00:00Z"})
        ).json()
        assert later["as_of"].startswith("2046-09-01")
        assert later["features"]["account_count_7d"] == 0
        assert (await client.get("/v1/features/account/acc_000001?as_of=now")).json()["seq"] == 2
        path = "/v1/features/account/acc_000001?as_of=2019-12-31T23:00:00.5-01:00"
        earlier = (await client.get(path)).json()
        assert earlier.pop("as_of_note").startswith("Asked for 2020-01-01T00:00:00.500Z, which lies before")
        assert earlier.items() <= found.items()
        assert state_of(serving) == before

    run(serving, body)


def test_an_id_never_seen_has_the_values_of_an_empty_past(serving: Settings) -> None:
    async def body(_: HttpApp, client: httpx.AsyncClient) -> None:
        found = (await client.get("/v1/features/merchant/nobody")).json()
        assert (found["seen"], found["seq"], found["clock"]) == (False, 0, None)
        assert set(found["features"].values()) <= {0.0, None}
        assert not state_of(serving)

    run(serving, body)


def test_an_id_may_hold_whatever_a_contract_allows(serving: Settings) -> None:
    async def body(_: HttpApp, client: httpx.AsyncClient) -> None:
        for id in ("a/b", "/", "a b", "Zoë 支付", "a%2Fb", "a}{b", "../x"):
            response = await client.get(f"/v1/features/merchant/{quote(id, safe='')}")
            assert (response.status_code, response.json()["id"]) == (200, id)

    run(serving, body)


@pytest.mark.parametrize(
    ("path", "status", "kind", "words"),
    [
        ("/v1/features/acount/x", 404, "unknown-entity", "did you mean 'account'?"),
        (f"/v1/features/account/{'x' * 2**20}", 414, "id-too-long", "1048576"),
        ("/v1/features/account/x?as_of=tomorrow", 422, "invalid-moment", "clock, now"),
        ("/v1/features/account/x?as_of=9999999", 422, "invalid-moment", "clock, now"),
        ("/v1/features/account/x?as_of=2026-09-01T12:00:00+02:00", 422, "invalid-moment", "%2B"),
        ("/v1/features/account/x?asof=now", 422, "invalid-moment", "found 1: asof"),
        ("/v1/features/account/x?as_of=now&as_of=clock", 422, "invalid-moment", "found 2: as_of"),
        ("/v1/features/account/x?as_of=1969-07-20", 422, "invalid-moment", "after 1970"),
        ("/v1/features/account/", 404, "not-found", "/v1/features/account/<id>"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    serving: Settings, path: str, status: int, kind: str, words: str
) -> None:
    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        if len(path) > 2**16:  # more than a client of HTTP would send; a server may take it all the same
            response = await _ask_directly(served, path)
        else:
            response = await client.get(path)
        assert response.status_code == status
        assert response.json()["type"] == f"urn:spearhead:problem:{kind}"
        assert words in response.json()["detail"]

    run(serving, body)


async def _ask_directly(served: HttpApp, path: str) -> httpx.Response:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
        "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1), "root_path": "",
    }  # fmt: skip
    await served.asgi(scope, receive, send)
    return httpx.Response(sent[0]["status"], content=sent[1]["body"])


def test_an_id_stands_in_no_log_when_reading_fails(
    serving: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(served: HttpApp, client: httpx.AsyncClient) -> None:
        async def break_down(*_: Any) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(served.runtime.store, "read", break_down)
        with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError):
            await client.get("/v1/features/account/acc_very_private")

    run(serving, body)
    assert "/v1/features/account/…" in caplog.text
    assert "acc_very_private" not in str([record.getMessage() for record in caplog.records])


def test_an_answer_says_what_logged_promises_when_asked(serving: Settings) -> None:
    async def body(_: HttpApp, client: httpx.AsyncClient) -> None:
        item = event()
        plain = (await client.post("/v1/score", json=item)).json()
        assert "durability" not in plain
        asked = (await client.post("/v1/score?durability=true", json=item)).json()
        assert asked.pop("durability")["appendfsync"] == "no"  # as the tests' server was started
        assert asked == plain
        with redis.Redis.from_url(serving.redis_address) as server:
            server.config_set("appendfsync", "everysec")
            try:
                await _.runtime.store.tend()
                again = (await client.post("/v1/score", json=item, headers={"Durability": "true"})).json()
            finally:
                server.config_set("appendfsync", "no")
        assert again["durability"]["process_death_loses"] == "at most the last second"

    run(serving, body)

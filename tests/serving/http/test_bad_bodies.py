"""Whatever bytes come in, the answer is a problem that says what was expected; nothing is scored, nothing falls over."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from fraud_core.contracts import load_contracts
from fraud_core.settings import Settings, load_settings
from fraud_serving.http.app import HttpApp
from fraud_serving.http.requests import (
    MAX_BATCH_BYTES,
    MAX_EVENT_BYTES,
    MAX_PASSED_OVER_BYTES,
    Refused,
    read_batch,
    read_body,
)
from fraud_serving.scoring.reading import NotJson, read_submission
from tests.serving.http.test_batches import run
from tests.serving.samples import event

EVENTS = {
    "nothing": b"",
    "no_json": b"{",
    "no_utf8": b'{"transaction_id": "\xff"}',
    "utf16": '{"transaction_id": "x"}'.encode("utf-16"),
    "a_list": b"[]",
    "a_number": b"1",
    "null": b"null",
    "two_values": b"{} {}",
    "nul_bytes": b"\x00" * 64,
    "deep_list": b"[" * 50_000,
    "deep_object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "long_number": b'{"amount_minor": ' + b"9" * 60_000 + b"}",
}
FIELDS: dict[str, str] = {
    "nan": '"latitude": NaN',
    "infinity": '"latitude": -Infinity',
    "huge_float": '"latitude": 1e999',
    "beyond_int64": f'"amount_minor": {1 << 63}',
    "far_beyond_int64": f'"amount_minor": {"9" * 4000}',
    "negative_beyond_int64": f'"amount_minor": {-(1 << 63) - 1}',
    "fraction_for_integer": '"amount_minor": 1.0',
    "boolean_for_integer": '"amount_minor": true',
    "text_for_integer": '"amount_minor": "100"',
    "given_twice": '"currency": "EUR", "currency": "USD"',
    "deep_value": '"country": ' + "[" * 5_000 + "]" * 5_000,
    "long_entity": f'"account_id": "{"a" * 60_000}"',
    "lone_surrogate": '"account_id": "acc_\\ud800"',
    "nul_in_text": '"account_id": "acc_\\u0000x"',
    "unknown": '"colour": "red"',
    "no_time": '"event_ts": "yesterday"',
    "leap_second": '"event_ts": "2016-12-31T23:59:60Z"',
}


def with_field(item: dict[str, Any], text: str) -> bytes:
    """The event with a field spelt out as `text`, in place of its own."""
    names = {part for part in item if f'"{part}":' in text}
    rest = json.dumps({name: value for name, value in item.items() if name not in names})
    return f"{rest[:-1]}, {text}}}".encode()


@pytest.mark.compiles
@pytest.mark.valkey
def test_every_bad_body_is_refused_with_a_problem(serving: Settings) -> None:
    sound = event()
    bodies = EVENTS | {name: with_field(sound, text) for name, text in FIELDS.items()}

    async def body(_: HttpApp, client: httpx.AsyncClient) -> None:
        for name, content in bodies.items():
            for path, sent in (
                ("/v1/score", content),
                ("/v1/score/batch", b'{"events": [' + content + b"]}"),
            ):
                response = await client.post(path, content=sent)
                found = response.json()
                if response.status_code == 200:  # the batch is sound, its one event is not
                    [item] = found["results"] or [{"problem": {"status": 400, "detail": "no event"}}]
                    found = item["problem"]
                assert found["status"] in {400, 422}, (name, path, found)
                assert found["detail"], name
        assert (await client.post("/v1/score", json=sound)).status_code == 200

    run(serving, body)


def test_a_number_without_end_is_told_in_words_of_ours() -> None:
    with pytest.raises(NotJson, match=r"a whole number has more than 4,300 digits\. See /docs"):
        read_submission(
            load_contracts(load_settings(_env_file=None).contracts).transactions,
            EVENTS["long_number"],
            known_ms=0,
            trace_id="",
            received=0,
        )


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("sent", "expects", "taken"),
    [(1 << 20, False, 1 << 20), (1 << 40, False, MAX_PASSED_OVER_BYTES), (1 << 20, True, 0)],
)
def test_a_refused_body_is_taken_to_its_end_within_bounds(
    sent: int, expects: bool, taken: int, declared: bool
) -> None:
    """… for whoever is still sending when a connection closes learns of a reset only, and not why."""
    if expects and not declared:
        return
    chunk, came = b"a" * (1 << 16), 0

    async def receive() -> dict[str, Any]:
        nonlocal came
        came += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": came < sent}

    headers = [(b"content-length", str(sent).encode())] if declared else []
    headers += [(b"expect", b"100-continue")] if expects else []
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(Refused) as refused:
        asyncio.run(read_body(request, MAX_EVENT_BYTES, "trace"))
    assert refused.value.document["status"] == 413
    assert taken <= came <= taken + 3 * len(chunk)


@pytest.mark.valkey
def test_what_is_too_large_is_refused(serving: Settings) -> None:
    megabyte = b'{"account_id": "' + b"a" * (1 << 20) + b'"}'

    async def body(_: HttpApp, client: httpx.AsyncClient) -> None:
        for path, sent in (
            ("/v1/score", megabyte),
            ("/v1/score", b" " * (MAX_EVENT_BYTES + 1)),
            ("/v1/score/batch", b'{"events": [' + megabyte * 5 + b"]}"),
            ("/v1/score/batch", b" " * (MAX_BATCH_BYTES + 1)),
        ):
            response = await client.post(path, content=sent)
            assert (response.status_code, response.json()["type"]) == (
                413,
                "urn:spearhead:problem:body-too-large",
            )

    run(serving, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"events": [1], "events": [2]}',
        b'{"events": [], "events": []}',
        b'{"events": [], "events": [1]}',
        b'{"events": [1], "events": []}',
        b'{"events": [1, 1], "events": [1, 1]}',
        b'{"events": [1], "\\u0065vents": [1]}',
        b'{"events": [1], "more": [1]}',
        b'{"events": null}',
        b'{"events": {}}',
        b'{"events": [1,]}',
        b'{"events": [1]} {"events": [1]}',
        b"{}",
        b"[]",
        b"",
    ],
)  # fmt: skip
def test_a_wrapper_is_refused_unless_it_is_one_list_of_events(body: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        read_batch(body, "0" * 32)
    assert refusal.value.document["status"] == 400


space = st.text(" \t\r\n", max_size=3)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=6,
)


@given(st.lists(value, max_size=5), st.lists(space, min_size=6, max_size=6), st.booleans())
def test_every_sound_wrapper_gives_its_events(items: list[Any], gaps: list[str], ascii_only: bool) -> None:
    texts = [json.dumps(item, ensure_ascii=ascii_only) for item in items]
    a, b, c, d, e, f = gaps
    body = f'{a}{{{b}"events"{c}:{d}[{e}' + f"{f},{e}".join(texts) + f"{f}]{b}}}{a}"
    try:
        encoded = body.encode()
    except UnicodeEncodeError:
        return
    assert [json.loads(each) for each in read_batch(encoded, "0" * 32)] == items

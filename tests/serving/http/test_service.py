"""The real service: BentoML in processes of its own, over HTTP, with a real Valkey and a real Triton."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from fraud_core.free_ports import free_ports
from fraud_core.release import PathAliasStore, challenge, promote
from fraud_core.settings import Settings
from fraud_serving.triton_server import TritonServer, find_environment, start_triton
from tests.serving.samples import default_features, event, make_bundle, wait_until

pytestmark = pytest.mark.valkey


@contextmanager
def service(settings: Settings) -> Iterator[httpx.Client]:
    [port] = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "fraud_core.cli", "serve", "--port", str(port)],
        env={**os.environ, **settings.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until(lambda: _ready(client), "the service to be ready", 180)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


class Load:
    """Payments sent without pause from another thread; every answer is counted."""

    def __init__(self, client: httpx.Client) -> None:
        self._url = client.base_url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.statuses: Counter[int] = Counter()
        self.last: dict[str, Any] = {}
        self.failed: list[str] = []

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    response = client.post("/v1/score", json=event())
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    continue
                self.statuses[response.status_code] += 1
                if response.status_code == 200:
                    self.last = response.json()

    def wait_for(self, what: str, **expected: Any) -> None:
        """Until an answer is as expected."""
        try:
            wait_until(lambda: expected.items() <= self.last.items(), what, 120)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.last} after {self.statuses}, {self.failed[:3]}") from None


def test_the_service_scores_repeats_refuses_and_documents(serving: Settings) -> None:
    with service(serving) as client:
        item = event()
        first = client.post("/v1/score", json=item, headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
        assert first.status_code == 200
        assert first.json()["trace_id"] == "a" * 32
        again = client.post("/v1/score", json=item)
        assert (again.content, again.headers["Idempotent-Replay"]) == (first.content, "true")

        problems = {
            409: client.post("/v1/score", json=item | {"merchant_category": "5999"}),
            422: client.post("/v1/score", json=event(amount_minor=-1, colour="red")),
            400: client.post("/v1/score", content=b'{"transaction_id": '),
            413: client.post("/v1/score", content=b'{"x":"' + b"x" * 70_000 + b'"}'),
            404: client.get("/v1/nothing"),
            405: client.get("/v1/score"),
        }
        for status, response in problems.items():
            assert (response.status_code, response.headers["content-type"]) == (
                status,
                "application/problem+json",
            )
        nested = b'{"transaction_id":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
        assert client.post("/v1/score", content=nested).status_code == 400
        assert client.post("/v1/score/batch", content=b'{"events":[' + nested + b"]}").status_code == 400
        codes = {each["code"] for each in problems[422].json()["violations"]}
        assert {"amount_minor.minimum", "row.unknown_field"} <= codes

        batch = client.post(
            "/v1/score/batch", json={"events": [event(), item, {"a": 1}, *[event() for _ in range(60)]]}
        )
        results = batch.json()["results"]
        assert [each["status"] for each in results[:3]] == [200, 200, 422]
        assert results[1]["answer"] == first.json()
        assert {each["status"] for each in results[3:]} == {200}
        assert client.post("/v1/score/batch", json={"events": [{}] * 1001}).status_code == 413

        document = client.get("/openapi.json").json()
        example = document["components"]["schemas"]["Event"]["examples"][0]
        assert client.post("/v1/score", json=example).status_code == 200
        page = client.get("/docs").text
        assert "http://" not in page
        assert "https://" not in page
        metrics = client.get("/metrics").text
        assert 'spearhead_requests_total{endpoint="score",status="422"} 1.0' in metrics
        assert "nothing" not in metrics
        assert client.get("/v1/model").json()["champion"]["features"] == len(default_features().names)


@pytest.mark.triton
def test_models_change_and_triton_dies_under_load_without_an_error(
    triton_settings: Settings, triton: TritonServer
) -> None:
    bundles, actor = triton_settings.bundles_path, {"actor": "test", "reason": "test"}
    with service(triton_settings) as client, Load(client) as load:
        load.wait_for("Triton to answer", backend="triton", fallback_reason=None)

        second = make_bundle(bundles, seed=2)
        store = PathAliasStore(bundles)
        challenge(store, bundles, second.version, **actor)
        promote(store, bundles, second.version, **actor)
        load.wait_for("the promoted model to answer", backend="triton", model_version=second.version)

        hashes = default_features().hashes | {"amount": "learned from another definition"}
        foreign = make_bundle(bundles, seed=3, feature_hashes=hashes)
        challenge(store, bundles, foreign.version, **actor)
        promote(store, bundles, foreign.version, **actor)
        problem = wait_until(
            lambda: client.get("/v1/model").json()["problem"], "the unfit model to be refused", 120
        )
        assert "defined otherwise now: amount" in problem
        assert load.last["model_version"] == second.version
        assert client.get("/readyz").status_code == 200

        triton.process.kill()
        triton.process.wait()
        load.wait_for("the fallback", backend="onnxruntime", fallback_reason="triton_unreachable")
        revived = start_triton(find_environment(triton_settings), triton_settings)
        try:
            load.wait_for("Triton to be used again", backend="triton", fallback_reason=None)
        finally:
            load.stop()
            revived.stop()
    assert (set(load.statuses), load.failed) == ({200}, [])
    assert load.statuses[200] > 50

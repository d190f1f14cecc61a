"""The routes as one ASGI application; its lifespan is the runtime's."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from fraud_core.settings import Settings
from fraud_serving.http.documents import docs_page, openapi
from fraud_serving.http.problems import problem, respond
from fraud_serving.http.requests import (
    MAX_BATCH_BYTES,
    MAX_EVENT_BYTES,
    Refused,
    read_batch,
    read_body,
    read_event,
    trace_id_of,
)
from fraud_serving.models.loaded import LoadedModel
from fraud_serving.runtime import Runtime
from fraud_serving.scoring import metrics
from fraud_serving.scoring.submission import Answered, Conflict, Outcome, Submission

log = logging.getLogger(__name__)

CHUNK = 32
"""Events of a batch that are scored before single requests get their turn again."""
BATCH_BUDGET_S = 10.0
"""Seconds that a batch may wait and be scored in; the largest takes 0.8 s beside other work on two cores."""
BATCHES = 4
"""Batches in one process, the one that is scored included; more are turned away."""
JSON = "application/json"
Endpoint = Callable[[Request], Awaitable[Response]]


class HttpApp:
    """The handlers, over one runtime, which is made when the application starts."""

    runtime: Runtime

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.asgi = Starlette(
            routes=[
                Route("/v1/score", _measured("score", self.score), methods=["POST"]),
                Route("/v1/score/batch", _measured("score_batch", self.score_batch), methods=["POST"]),
                Route("/v1/model", _measured("model", self.model)),
                Route("/readyz", self.readyz),
                Route("/livez", self.livez),
                Route("/metrics", self.metrics),
                Route("/openapi.json", self.openapi),
                Route("/docs", self.docs),
                Route("/", self.index),
            ],
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _http_problem, Exception: _internal_problem},
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.runtime = Runtime(self._settings, source="http")
        self._contract = self.runtime.contracts.transactions
        self._openapi = msgspec.json.encode(openapi(self._contract, version("spearhead")))
        self._docs = docs_page()
        self._one_batch, self._batches = asyncio.Semaphore(1), 0
        await self.runtime.start()
        yield
        await self.runtime.stop()

    async def score(self, request: Request) -> Response:
        """POST /v1/score."""
        received, trace_id = time.monotonic(), trace_id_of(request)
        try:
            body = await read_body(request, MAX_EVENT_BYTES, trace_id)
            submission = read_event(self._contract, body, trace_id, received, "http")
        except Refused as refused:
            return respond(refused.document)
        [outcome] = await self.runtime.scorer.score([submission])
        if isinstance(outcome, Answered):
            headers = {"Idempotent-Replay": "true"} if outcome.repeated else None
            return Response(outcome.content, media_type=JSON, headers=headers)
        document = _not_answered(outcome, submission)
        return respond(document, {"Retry-After": "1"} if document["status"] == 503 else None)

    async def score_batch(self, request: Request) -> Response:
        """POST /v1/score/batch. One batch at a time and in small chunks, so that single requests hardly notice."""
        received, trace_id = time.monotonic(), trace_id_of(request)
        if self._batches == BATCHES:
            return _turned_away(trace_id)
        self._batches += 1
        try:
            events = read_batch(await read_body(request, MAX_BATCH_BYTES, trace_id), trace_id)
            deadline = time.monotonic() + BATCH_BUDGET_S
            async with asyncio.timeout(BATCH_BUDGET_S):
                await self._one_batch.acquire()
            try:
                items = await self._score_chunks(events, trace_id, received, deadline)
            finally:
                self._one_batch.release()
        except Refused as refused:
            return respond(refused.document)
        except TimeoutError:
            return _turned_away(trace_id)
        finally:
            self._batches -= 1
        return Response(b'{"results":[' + b",".join(items) + b"]}", media_type=JSON)

    async def _score_chunks(
        self, events: list[bytes], trace_id: str, received: float, deadline: float
    ) -> list[bytes]:
        """An item per event; events whose turn does not come before the deadline are left untouched and say so."""
        items: list[bytes] = []
        while len(items) < len(events) and time.monotonic() < deadline:
            items += await self._score_chunk(events[len(items) : len(items) + CHUNK], trace_id, received)
            await asyncio.sleep(0)
        late = problem("not-in-time", "Nothing was done with this event; send it again.", trace_id)
        return items + [_problem_item(late)] * (len(events) - len(items))

    async def _score_chunk(self, events: list[bytes], trace_id: str, received: float) -> list[bytes]:
        items: list[bytes] = [b""] * len(events)
        places, submissions = [], []
        for place, event in enumerate(events):
            try:
                submissions.append(read_event(self._contract, event, trace_id, received, "http"))
                places.append(place)
            except Refused as refused:
                items[place] = _problem_item(refused.document)
        outcomes = await self.runtime.scorer.score(submissions) if submissions else []
        for place, submission, outcome in zip(places, submissions, outcomes, strict=True):
            if isinstance(outcome, Answered):
                items[place] = b'{"status":200,"answer":' + outcome.content + b"}"
            else:
                items[place] = _problem_item(_not_answered(outcome, submission))
        return items

    async def model(self, _: Request) -> Response:
        """GET /v1/model."""
        live = self.runtime.models.current
        document = {
            "generation": live.generation,
            "champion": _described(live.champion),
            "previous": _described(live.previous),
            "problem": live.problem,
            "backend": self.runtime.settings.backend,
            "triton_problem": self.runtime.triton_problem(),
            "feature_set_hash": self.runtime.features.hash,
        }
        return Response(msgspec.json.encode(document), media_type=JSON)

    async def readyz(self, _: Request) -> Response:
        """GET /readyz."""
        readiness = self.runtime.readiness()
        content = msgspec.json.encode({"ready": readiness.ready, "missing": readiness.missing})
        return Response(content, 200 if readiness.ready else 503, media_type=JSON)

    async def livez(self, _: Request) -> Response:
        """GET /livez."""
        return Response(b'{"alive":true}', media_type=JSON)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics, of all worker processes."""
        content = await asyncio.to_thread(_collect)
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        """GET /openapi.json."""
        return Response(self._openapi, media_type=JSON)

    async def docs(self, _: Request) -> Response:
        """GET /docs."""
        return HTMLResponse(self._docs)

    async def index(self, _: Request) -> Response:
        """GET /."""
        return RedirectResponse("/docs")


def _measured(name: str, endpoint: Endpoint) -> Endpoint:
    """Count and time an endpoint under a name of ours; the status is the only other label."""
    latency = metrics.LATENCY.labels(name)
    counters: dict[int, Any] = {}

    async def measured(request: Request) -> Response:
        start, status = time.perf_counter(), 500
        try:
            response = await endpoint(request)
            status = response.status_code
        finally:
            if status not in counters:
                counters[status] = metrics.REQUESTS.labels(name, str(status))
            counters[status].inc()
            latency.observe(time.perf_counter() - start)
        return response

    return measured


def _collect() -> bytes:
    registry: CollectorRegistry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)
    except ValueError:  # one process, as in tests: there is no folder to collect from
        registry = REGISTRY
    return generate_latest(registry)


def _turned_away(trace_id: str) -> Response:
    words = f"At most {BATCHES} batches wait in one process, for {BATCH_BUDGET_S:g} s. Nothing was done; send it again later."
    return respond(problem("too-many-batches", words, trace_id), {"Retry-After": "1"})


def _not_answered(outcome: Outcome, submission: Submission) -> dict[str, Any]:
    if isinstance(outcome, Conflict):
        return problem(
            "id-conflict",
            f"{submission.event_id!r} was scored with another body. Send a new id for a new payment.",
            submission.trace_id,
        )
    return problem(
        "in-progress",
        f"{submission.event_id!r} is being scored. Ask again for its answer.",
        submission.trace_id,
    )


def _problem_item(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"status": document["status"], "problem": document})


def _described(model: LoadedModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    manifest = model.bundle.manifest
    return {
        "model_version": model.version,
        "created_at": manifest.created_at.isoformat(),
        "features": len(manifest.features),
        "thresholds": manifest.thresholds.model_dump(),
        "metrics": {name: measure.model_dump() for name, measure in manifest.metrics.items()},
    }


async def _http_problem(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = {404: "not-found", 405: "method-not-allowed"}.get(status, "internal")
    return respond(problem(kind, "See /docs for what there is."))


async def _internal_problem(request: Request, error: Exception) -> Response:
    log.error("A request to %s failed", request.url.path, exc_info=error)
    return respond(
        problem(
            "internal",
            "The payment may have been scored; send it again with the same id.",
            trace_id_of(request),
        )
    )

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
from fraud_serving.http.batches import Batches
from fraud_serving.http.documents import docs_page, openapi
from fraud_serving.http.durability import with_durability
from fraud_serving.http.features import read_features
from fraud_serving.http.problems import not_answered, problem, respond
from fraud_serving.http.requests import (
    MAX_EVENT_BYTES,
    Refused,
    read_body,
    read_event,
    trace_id_of,
)
from fraud_serving.models.loaded import LoadedModel
from fraud_serving.runtime import Runtime
from fraud_serving.scoring import metrics
from fraud_serving.scoring.submission import Answered

log = logging.getLogger(__name__)

JSON = "application/json"
Endpoint = Callable[[Request], Awaitable[Response]]


class HttpApp:
    """The handlers, over one runtime, which is made when the application starts."""

    runtime: Runtime
    batches: Batches

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.asgi = Starlette(
            routes=[
                Route("/v1/score", _measured("score", self.score), methods=["POST"]),
                Route("/v1/score/batch", _measured("score_batch", self.score_batch), methods=["POST"]),
                Route("/v1/model", _measured("model", self.model)),
                Route("/v1/features/{entity}/{id:path}", _measured("features", self.features)),
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
        self._openapi = msgspec.json.encode(
            openapi(self._contract, self.runtime.features, version("spearhead"))
        )
        self._docs = docs_page()
        await self.runtime.start()
        self.batches = Batches(self.runtime.scorer, self._contract)
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
            content = with_durability(request, outcome.content, self.runtime)
            return Response(content, media_type=JSON, headers=headers)
        document = not_answered(outcome, submission)
        return respond(document, {"Retry-After": "1"} if document["status"] == 503 else None)

    async def score_batch(self, request: Request) -> Response:
        """POST /v1/score/batch."""
        return await self.batches.score(request)

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

    async def features(self, request: Request) -> Response:
        """GET /v1/features/{entity}/{id}."""
        return await read_features(self.runtime, request)

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


def _masked(path: str) -> str:
    """A path for the log: an entity's id is nobody's business there."""
    if not path.startswith("/v1/features/"):
        return path
    return "/".join([*path.split("/")[:4], "…"])


async def _internal_problem(request: Request, error: Exception) -> Response:
    log.error("A request to %s failed", _masked(request.url.path), exc_info=error)
    return respond(
        problem(
            "internal",
            "The payment may have been scored; send it again with the same id.",
            trace_id_of(request),
        )
    )

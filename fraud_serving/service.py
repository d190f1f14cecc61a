"""The BentoML service: worker processes, limits and configuration around the ASGI application.

The routes are mounted rather than declared as `@bentoml.api`: half the CPU a request. BentoML's own metrics (raw paths
as labels), access log and tracing middleware are off; ours stand in `fraud_serving.http`.
"""

from typing import Any

import bentoml

from fraud_core.settings import load_settings
from fraud_serving.http.app import HttpApp
from fraud_serving.http.batches import BUDGET_S
from fraud_serving.http.requests import BODY_TIMEOUT_S

settings = load_settings()
http = HttpApp(settings)


class OwnRoutes:
    """Hands every request to our application, before BentoML's routes: its /readyz cannot say what is missing, and its
    answers to unknown paths are no problem documents. The mount below gives the application its lifespan."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await (http.asgi if scope["type"] == "http" else self._app)(scope, receive, send)


@bentoml.asgi_app(http.asgi, path="/")
class Scoring:
    """Scores payments for fraud: see /docs."""


service: Any = bentoml.service(
    name="spearhead",
    workers=settings.serving_workers,
    # Only a last resort, for it answers without a problem document: everything that takes time has a limit of its own.
    # The middleware keeps some objects of every request for that long, and the garbage collector pays: hence not longer.
    traffic={"timeout": BODY_TIMEOUT_S + BUDGET_S + max(1.0, 4 * settings.deadline_ms / 1000)},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)(Scoring)
service.add_asgi_middleware(OwnRoutes)

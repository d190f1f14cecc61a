"""What an answer promises when it says `logged: true`, for whoever asks: `?durability=true`, or `Durability: true`."""

import msgspec
from starlette.requests import Request

from fraud_serving.runtime import Runtime

HEADER = "durability"


def with_durability(request: Request, answer: bytes, runtime: Runtime) -> bytes:
    """The answer, with the field where it was asked for. It is no part of the stored answer: the server may change its ways."""
    asked = request.query_params.get("durability", request.headers.get(HEADER, "false"))
    if asked.lower() not in {"true", "1"}:
        return answer
    facts = runtime.store.facts
    promise = facts.durability() if facts else None
    return answer[:-1] + b',"durability":' + msgspec.json.encode(promise) + b"}"

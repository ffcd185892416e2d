"""The REST routes, V1 and V2.

KServe's own routes are not used: they answer 500, 501 or 422 to much that a client can mend, run
CloudEvents and validation over every text, and let anyone unload the model.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from kserve import InferResponse
from kserve.protocol.dataplane import DataPlane
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.bodies import Held, body_of
from serving.errors import ClientGoneError, InputError
from serving.metrics import observed
from serving.openapi import document
from serving.predictor import LARGE_BYTES, LARGE_TEXTS, Predictor, aside
from serving.wire_v2 import request_from_rest

BINARY_HEADER = "inference-header-content-length"


class RestRoutes:
    """Answers HTTP requests for one predictor."""

    def __init__(self, predictor: Predictor, dataplane: DataPlane) -> None:
        self._predictor = predictor
        self._dataplane = dataplane

    async def root(self, _: Request) -> Response:
        """The process answers, in the words of V1."""
        return json_answer({"status": "alive"})

    async def live(self, _: Request) -> Response:
        """200 unless only a new process can help, then 503."""
        live = self._predictor.alive
        return json_answer({"live": live}, 200 if live else 503)

    async def ready(self, _: Request) -> Response:
        """200 when requests may be sent here, else 503."""
        ready = await self._predictor.healthy()
        return json_answer({"ready": ready}, 200 if ready else 503)

    async def server_metadata(self, _: Request) -> Response:
        """Name, version and protocol extensions of the server."""
        return json_answer(self._dataplane.metadata())

    async def models(self, _: Request) -> Response:
        """Names of the models served."""
        return json_answer({"models": [self._predictor.name]})

    async def model_metadata(self, request: Request) -> Response:
        """Inputs, outputs, labels and version."""
        self._check_name(request)
        return json_answer(self._predictor.metadata())

    async def model_ready(self, request: Request) -> Response:
        """200 when the model answers, else 503."""
        self._check_name(request)
        ready = await self._predictor.healthy()
        return json_answer({"name": self._predictor.name, "ready": ready}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """What Prometheus reads, in the format that it asks for."""
        accept = request.headers.get("accept", "*/*")
        try:
            encode, media_type = choose_encoder(accept)
        except TypeError:
            raise InputError(
                f"the Accept header {accept[:100]!r} has a version that is no number. Send "
                "Prometheus's own, or none."
            ) from None
        return Response(encode(REGISTRY), headers={"content-type": media_type})

    async def openapi(self, _: Request) -> Response:
        """What can be asked here, and what is answered."""
        return json_answer(document(self._predictor.name, self._predictor.metadata()))

    async def predict(self, request: Request) -> Response:
        """V1: `{"instances": ["a text", ...], "parameters": {"top_k", "raw_logits"}}`."""
        self._check_name(request)
        with observed("v1"), Held() as held:
            self._check_room()
            answer, headers = await self._asked(request, await body_of(request, held))
            large = len(answer["predictions"]) >= LARGE_TEXTS
            content = await aside(large, orjson.dumps, answer)
        return Response(content, headers=headers, media_type="application/json")

    async def infer(self, request: Request) -> Response:
        """V2: BYTES input `text` (and `text_pair`), in JSON or with binary tensors."""
        self._check_name(request)
        with observed("v2"), Held() as held:
            self._check_room()
            body = await body_of(request, held)
            length = request.headers.get(BINARY_HEADER)
            large = len(body) >= LARGE_BYTES
            name, version = self._predictor.name, request.path_params.get("model_version")
            asked = await aside(large, request_from_rest, body, length, name, version)
            answer, headers = await self._asked(request, asked)
            content, json_length = await aside(large, _v2_content, answer)
        if json_length is None:
            return Response(content, headers=headers, media_type="application/json")
        headers = {**headers, BINARY_HEADER: str(json_length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    def _check_name(self, request: Request) -> None:
        names = request.path_params
        self._predictor.check_served(names["model_name"], names.get("model_version"))

    def _check_room(self) -> None:
        """Refuse before the body is read what would be refused after it."""
        self._predictor.loaded.batcher.check_room()

    async def _asked(self, request: Request, payload: Any) -> tuple[Any, dict[str, str]]:
        """The predictor's answer and headers; drops the request when its client leaves."""
        headers: dict[str, str] = {}
        asking = asyncio.current_task()
        assert asking is not None
        waiting = True
        left = asyncio.ensure_future(_client_left(request))
        # It is called a turn of the loop after the client left; by then the answer may be here.
        left.add_done_callback(lambda _: asking.cancel() if waiting else None)
        try:
            return await self._predictor.predict(payload, response_headers=headers), headers
        except asyncio.CancelledError:
            if not left.done() or asking.uncancel():
                raise
            raise ClientGoneError from None
        finally:
            waiting = False
            left.cancel()


class _Endpoint:
    """A handler as an ASGI application, whose errors are answered in `application`."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._handle(Request(scope, receive))
        await response(scope, receive, send)


def routes(predictor: Predictor, dataplane: DataPlane) -> list[Route]:
    """What is served where. The first that matches answers, so the busiest come first."""
    rest = RestRoutes(predictor, dataplane)
    v1, v2 = "/v1/models", "/v2/models/{model_name}"
    version = f"{v2}/versions/{{model_version}}"
    handlers = [
        ("POST", f"{v1}/{{model_name}}:predict", rest.predict),
        ("POST", f"{v2}/infer", rest.infer),
        ("GET", f"{v2}/ready", rest.model_ready),
        ("GET", "/v2/health/live", rest.live),
        ("GET", "/v2/health/ready", rest.ready),
        ("GET", "/metrics", rest.metrics),
        ("GET", "/", rest.root),
        ("GET", "/openapi.json", rest.openapi),
        ("GET", v1, rest.models),
        ("GET", f"{v1}/{{model_name}}", rest.model_ready),
        ("GET", "/v2", rest.server_metadata),
        ("GET", "/v2/models", rest.models),
        ("GET", v2, rest.model_metadata),
        ("GET", version, rest.model_metadata),
        ("GET", f"{version}/ready", rest.model_ready),
        ("POST", f"{version}/infer", rest.infer),
    ]
    return [Route(path, _Endpoint(handle), methods=[method]) for method, path, handle in handlers]


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _v2_content(answer: InferResponse) -> tuple[bytes, int | None]:
    content, json_length = answer.to_rest()
    return (orjson.dumps(content) if json_length is None else content), json_length


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")

"""The REST routes, V1 and V2, and what each error becomes.

KServe's own routes are not used: they answer 500, 501 or 422 to much that a client can mend, run
CloudEvents and validation over every text, and let anyone unload the model.
"""

import asyncio
import logging
from typing import Any

import orjson
from kserve import InferResponse
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import metrics_handler
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.bodies import body_of
from serving.errors import (
    RETRY_AFTER_SECONDS,
    ClientGoneError,
    InputError,
    OverloadedError,
    TooLargeError,
    UnsupportedEncodingError,
)
from serving.metrics import observed
from serving.openapi import document
from serving.predictor import LARGE_BYTES, LARGE_TEXTS, Predictor, aside
from serving.protocol_v2 import request_from_rest

logger = logging.getLogger("finegate")

BINARY_HEADER = "inference-header-content-length"


class RestRoutes:
    """Answers HTTP requests for one predictor."""

    def __init__(self, predictor: Predictor, dataplane: DataPlane) -> None:
        self._predictor = predictor
        self._dataplane = dataplane

    async def root(self, _: Request) -> Response:
        """The process answers, in the words of V1."""
        return _json({"status": "alive"})

    async def live(self, _: Request) -> Response:
        """The process answers."""
        return _json({"live": True})

    async def ready(self, _: Request) -> Response:
        """200 when requests may be sent here, else 503."""
        ready = await self._predictor.healthy()
        return _json({"ready": ready}, 200 if ready else 503)

    async def server_metadata(self, _: Request) -> Response:
        """Name, version and protocol extensions of the server."""
        return _json(self._dataplane.metadata())

    async def models(self, _: Request) -> Response:
        """Names of the models served."""
        return _json({"models": [self._predictor.name]})

    async def model_metadata(self, request: Request) -> Response:
        """Inputs, outputs, labels and version."""
        self._check_name(request)
        return _json(self._predictor.metadata())

    async def model_ready(self, request: Request) -> Response:
        """200 when the model answers, else 503."""
        self._check_name(request)
        ready = await self._predictor.healthy()
        return _json({"name": self._predictor.name, "ready": ready}, 200 if ready else 503)

    async def openapi(self, _: Request) -> Response:
        """What can be asked here, and what is answered."""
        return _json(document(self._predictor.name, self._predictor.metadata()))

    async def predict(self, request: Request) -> Response:
        """V1: `{"instances": ["a text", ...], "parameters": {"top_k", "raw_logits"}}`."""
        self._check_name(request)
        with observed("v1"):
            self._check_room()
            answer, headers = await self._asked(request, await body_of(request))
            large = len(answer["predictions"]) >= LARGE_TEXTS
            content = await aside(large, orjson.dumps, answer)
        return Response(content, headers=headers, media_type="application/json")

    async def infer(self, request: Request) -> Response:
        """V2: BYTES input `text` (and `text_pair`), in JSON or with binary tensors."""
        self._check_name(request)
        with observed("v2"):
            self._check_room()
            body = await body_of(request)
            length = request.headers.get(BINARY_HEADER)
            large = len(body) >= LARGE_BYTES
            name = self._predictor.name
            asked = await aside(large, request_from_rest, body, length, name)
            answer, headers = await self._asked(request, asked)
            content, json_length = await aside(large, _v2_content, answer)
        if json_length is None:
            return Response(content, headers=headers, media_type="application/json")
        headers = {**headers, BINARY_HEADER: str(json_length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    def _check_name(self, request: Request) -> None:
        name, version = (request.path_params.get(key) for key in ("model_name", "model_version"))
        if name != self._predictor.name:
            raise ModelNotFound(str(name)[:200])
        if version not in (None, self._predictor.loaded.version):
            raise ModelNotFound(f"{name} and version {str(version)[:200]}")

    def _check_room(self) -> None:
        """Refuse before the body is read what would be refused after it."""
        self._predictor.loaded.batcher.check_room()

    async def _asked(self, request: Request, payload: Any) -> tuple[Any, dict[str, str]]:
        """The predictor's answer and headers; drops the request when its client leaves."""
        headers: dict[str, str] = {}
        answer = asyncio.ensure_future(self._predictor.predict(payload, response_headers=headers))
        left = asyncio.ensure_future(_client_left(request))
        try:
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientGoneError
            return answer.result(), headers
        finally:
            answer.cancel()
            left.cancel()


class CloseWhileDraining:
    """Asks clients for a new connection from SIGTERM on, so that none sends into a closing one."""

    def __init__(self, app: ASGIApp, predictor: Predictor) -> None:
        self._app = app
        self._predictor = predictor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._predictor.draining:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, closing)


def routes(predictor: Predictor, dataplane: DataPlane) -> list[Route]:
    """What is served where. The first that matches answers, so the busiest come first."""
    rest = RestRoutes(predictor, dataplane)
    v1, v2 = "/v1/models", "/v2/models/{model_name}"
    version = f"{v2}/versions/{{model_version}}"
    return [
        Route(f"{v1}/{{model_name}}:predict", rest.predict, methods=["POST"]),
        Route(f"{v2}/infer", rest.infer, methods=["POST"]),
        Route(f"{v2}/ready", rest.model_ready),
        Route("/v2/health/live", rest.live),
        Route("/v2/health/ready", rest.ready),
        Route("/metrics", metrics_handler),
        Route("/", rest.root),
        Route("/openapi.json", rest.openapi),
        Route(v1, rest.models),
        Route(f"{v1}/{{model_name}}", rest.model_ready),
        Route("/v2", rest.server_metadata),
        Route("/v2/models", rest.models),
        Route(v2, rest.model_metadata),
        Route(version, rest.model_metadata),
        Route(f"{version}/ready", rest.model_ready),
        Route(f"{version}/infer", rest.infer, methods=["POST"]),
    ]


def application(predictor: Predictor, dataplane: DataPlane) -> Starlette:
    """The web application that serves one predictor."""
    return Starlette(
        routes=routes(predictor, dataplane),
        middleware=[Middleware(CloseWhileDraining, predictor=predictor)],
        exception_handlers={
            InputError: _invalid,
            OverloadedError: _overloaded,
            ModelNotFound: _not_found,
            HTTPException: _no_route,
            ClientGoneError: _gone,
            Exception: _failed,
        },
    )


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _v2_content(answer: InferResponse) -> tuple[bytes, int | None]:
    content, json_length = answer.to_rest()
    return (orjson.dumps(content) if json_length is None else content), json_length


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _invalid(_: Request, error: Exception) -> Response:
    status = 400
    if isinstance(error, TooLargeError):
        status = 413
    elif isinstance(error, UnsupportedEncodingError):
        status = 415
    return _json({"error": str(error)}, status)


async def _not_found(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 404)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = f"{request.method[:20]} {request.url.path[:200]}"
    says = f"{asked} is not offered here; GET /openapi.json lists what is."
    return _json({"error": says}, error.status_code, dict(error.headers or {}))


async def _overloaded(_: Request, error: Exception) -> Response:
    retry = {"retry-after": str(RETRY_AFTER_SECONDS)}
    return _json({"error": str(error)}, 503, retry)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _failed(_: Request, error: Exception) -> Response:
    # The exception's text could hold a part of a user's text; the log's traceback does not.
    return _json({"error": f"internal error ({type(error).__name__}); the log says more."}, 500)

"""The REST routes, V1 and V2, and what each error becomes.

KServe's own routes are not used: they answer 500, 501 or 422 to much that a client can mend, run
CloudEvents and validation over every text, and let anyone unload the model.
"""

import asyncio
import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from kserve import InferResponse
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import metrics_handler
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ClientGoneError, InputError, OverloadedError, TooLargeError
from serving.metrics import observed
from serving.predictor import LARGE_BYTES, LARGE_TEXTS, Predictor, aside
from serving.protocol_v2 import request_from_rest

logger = logging.getLogger("finegate")

RETRY_AFTER_SECONDS = 1
MAX_BODY_BYTES = 64 << 20
BINARY_HEADER = "inference-header-content-length"


class RestRoutes:
    """Answers HTTP requests for one predictor."""

    def __init__(self, predictor: Predictor, dataplane: DataPlane) -> None:
        self._predictor = predictor
        self._dataplane = dataplane

    async def live(self) -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    async def ready(self) -> Response:
        """200 when requests may be sent here, else 503."""
        ready = await self._predictor.healthy()
        return _json({"ready": ready}, 200 if ready else 503)

    async def server_metadata(self) -> dict[str, Any]:
        """Name, version and protocol extensions of the server."""
        metadata: dict[str, Any] = self._dataplane.metadata()
        return metadata

    async def models(self) -> dict[str, list[str]]:
        """Names of the models served."""
        return {"models": [self._predictor.name]}

    async def model_metadata(self, model_name: str, model_version: str | None = None) -> Any:
        """Inputs, outputs, labels and version."""
        self._check_name(model_name, model_version)
        return self._predictor.metadata()

    async def model_ready(self, model_name: str, model_version: str | None = None) -> Response:
        """200 when the model answers, else 503."""
        self._check_name(model_name, model_version)
        ready = await self._predictor.healthy()
        return _json({"name": model_name, "ready": ready}, 200 if ready else 503)

    async def predict(self, model_name: str, request: Request) -> Response:
        """V1: `{"instances": ["a text", ...], "parameters": {"top_k", "raw_logits"}}`."""
        self._check_name(model_name)
        with observed("v1"):
            answer, headers = await self._asked(request, await _body(request))
            large = len(answer["predictions"]) >= LARGE_TEXTS
            content = await aside(large, orjson.dumps, answer)
        return Response(content, headers=headers, media_type="application/json")

    async def infer(
        self, model_name: str, request: Request, model_version: str | None = None
    ) -> Response:
        """V2: BYTES input `text` (and `text_pair`), in JSON or with binary tensors."""
        self._check_name(model_name, model_version)
        with observed("v2"):
            body = await _body(request)
            length = request.headers.get(BINARY_HEADER)
            large = len(body) >= LARGE_BYTES
            asked = await aside(large, request_from_rest, body, length, model_name)
            answer, headers = await self._asked(request, asked)
            content, json_length = await aside(large, _v2_content, answer)
        if json_length is None:
            return Response(content, headers=headers, media_type="application/json")
        headers = {**headers, BINARY_HEADER: str(json_length)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    def _check_name(self, name: str, version: str | None = None) -> None:
        if name != self._predictor.name:
            raise ModelNotFound(name)
        if version is not None and version != self._predictor.loaded.version:
            raise ModelNotFound(f"{name} and version {version}")

    async def _asked(self, request: Request, payload: Any) -> tuple[Any, dict[str, str]]:
        """The predictor's answer and headers; drops the request when its client leaves."""
        answer = asyncio.ensure_future(self._predictor(payload))
        left = asyncio.ensure_future(_client_left(request))
        try:
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientGoneError
            result: tuple[Any, dict[str, str]] = answer.result()
            return result
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


def application(predictor: Predictor, dataplane: DataPlane) -> FastAPI:
    """The web application that serves one predictor."""
    app = FastAPI(title=f"finegate: {predictor.name}", docs_url=None, redoc_url=None)
    routes, get, post = RestRoutes(predictor, dataplane), ["GET"], ["POST"]
    v1, v2 = "/v1/models", "/v2/models/{model_name}"
    version = f"{v2}/versions/{{model_version}}"
    for path, endpoint, methods in (
        ("/", routes.live, get),
        ("/metrics", metrics_handler, get),
        (v1, routes.models, get),
        (f"{v1}/{{model_name}}", routes.model_ready, get),
        (f"{v1}/{{model_name}}:predict", routes.predict, post),
        ("/v2", routes.server_metadata, get),
        ("/v2/health/live", routes.live, get),
        ("/v2/health/ready", routes.ready, get),
        ("/v2/models", routes.models, get),
        (v2, routes.model_metadata, get),
        (f"{v2}/ready", routes.model_ready, get),
        (f"{v2}/infer", routes.infer, post),
        (version, routes.model_metadata, get),
        (f"{version}/ready", routes.model_ready, get),
        (f"{version}/infer", routes.infer, post),
    ):
        app.add_api_route(path, endpoint, methods=methods, response_model=None)
    app.add_middleware(CloseWhileDraining, predictor=predictor)
    for kind, handler in (
        (InputError, _invalid),
        (OverloadedError, _overloaded),
        (ModelNotFound, _not_found),
        (ClientGoneError, _gone),
        (Exception, _failed),
    ):
        app.add_exception_handler(kind, handler)
    return app


async def _body(request: Request) -> bytes:
    size = int(request.headers.get("content-length", 0))  # uvicorn refuses what is no number
    chunks = []
    try:
        if size <= MAX_BODY_BYTES:
            size = 0
            async for chunk in request.stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    break
    except ClientDisconnect as error:
        raise ClientGoneError from error
    if size > MAX_BODY_BYTES:
        raise TooLargeError(
            f"the body has {size} bytes or more; {MAX_BODY_BYTES} is the most it may have. Send "
            "fewer texts a request."
        )
    return b"".join(chunks)


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _v2_content(answer: InferResponse) -> tuple[bytes, int | None]:
    content, json_length = answer.to_rest()
    return (orjson.dumps(content) if json_length is None else content), json_length


def _json(content: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


async def _invalid(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 413 if isinstance(error, TooLargeError) else 400)


async def _not_found(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 404)


async def _overloaded(_: Request, error: Exception) -> Response:
    retry = {"retry-after": str(RETRY_AFTER_SECONDS)}
    return _json({"error": str(error)}, 503, retry)


async def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _failed(_: Request, error: Exception) -> Response:
    # The exception's text could hold a part of a user's text; the log's traceback does not.
    return _json({"error": f"internal error ({type(error).__name__}); the log says more."}, 500)

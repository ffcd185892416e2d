"""KServe's ModelServer with what a text classifier's users need: clear errors, reload, versions."""

import asyncio
import logging
import signal
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from kserve import ModelServer
from kserve.errors import InvalidInput
from kserve.model_server import app
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from serving.predictor import BadRequestError, OverloadedError, Predictor

RETRY_AFTER_SECONDS = 1
MAX_BODY_BYTES = 64 << 20


class PredictorServer(ModelServer):  # type: ignore[misc]
    """Serves one predictor over HTTP (V1, V2) and gRPC (V2); SIGHUP reloads it."""

    def __init__(self, predictor: Predictor, *, host: str, http_port: int, grpc_port: int) -> None:
        """`grpc_port` 0 leaves gRPC out."""
        super().__init__(
            http_port=http_port,
            grpc_port=grpc_port,
            enable_grpc=grpc_port > 0,
            enable_latency_logging=False,
        )
        self._host = host
        self._predictor = predictor
        self.dataplane = _DataPlane(self.registered_models, predictor)
        self.model_repository_extension = _ClosedRepository(self.registered_models)
        self._reloading: asyncio.Task[None] | None = None
        app.add_api_route("/v2/models/{model_name}", self._metadata, methods=["GET"])
        app.add_exception_handler(BadRequestError, _bad_request)
        app.add_exception_handler(OverloadedError, _overloaded)
        app.middleware("http")(_limit_body)

    async def _serve(self) -> None:
        # KServe binds every interface; a laptop's endpoint should not.
        self._rest_server.config.host = self._host
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        for name in ("uvicorn.access", "kserve.trace"):  # a line a request costs a quarter
            logging.getLogger(name).disabled = True
        await super()._serve()

    def _reload(self) -> None:
        waiting = self._reloading

        async def one_after_the_other() -> None:
            if waiting is not None:
                await waiting
            await self._predictor.reload()

        self._reloading = asyncio.get_running_loop().create_task(one_after_the_other())

    async def _metadata(self, model_name: str) -> dict[str, Any]:
        return await self.dataplane.model_metadata(model_name)


class _DataPlane(DataPlane):  # type: ignore[misc]
    def __init__(self, registry: Any, predictor: Predictor) -> None:
        super().__init__(model_registry=registry)
        self._predictor = predictor

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        loaded = self._predictor.loaded
        return {
            **metadata,
            "platform": f"finegate_{loaded.classifier.backend.name}",
            "versions": [loaded.version],
            "parameters": {
                "labels": list(loaded.classifier.labels),
                "problem_type": loaded.classifier.problem_type,
                "max_length": loaded.classifier.encoder.max_length,
            },
        }


class _ClosedRepository(ModelRepositoryExtension):  # type: ignore[misc]
    """Loading and unloading by anyone who reaches the port is not a feature."""

    async def load(self, model_name: str) -> None:
        raise InvalidInput("models are loaded by promotion alone; this endpoint is closed.")

    async def unload(self, model_name: str) -> None:
        raise InvalidInput("models are unloaded by promotion alone; this endpoint is closed.")


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _overloaded(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse(
        {"error": "too many texts wait for an answer; send the request again later."},
        status_code=503,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


async def _limit_body(request: Request, call_next: Any) -> Any:
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        return JSONResponse(
            {"error": f"the body has {length} bytes; {MAX_BODY_BYTES} is the most it may have."},
            status_code=413,
        )
    return await call_next(request)

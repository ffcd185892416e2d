"""The gRPC endpoint: the Open Inference Protocol's service, and what each error becomes."""

import logging
from typing import Any, NoReturn

from google.protobuf.message import DecodeError
from grpc import StatusCode, aio, unary_unary_rpc_method_handler
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from serving.bodies import MAX_BODY_BYTES, Held
from serving.errors import RETRY_AFTER_SECONDS, InputError, ModelError, OverloadedError
from serving.metrics import observed
from serving.predictor import LARGE_BYTES, Predictor, aside
from serving.wire_v2 import request_from_grpc

logger = logging.getLogger("finegate")


class GrpcService(GRPCInferenceServiceServicer):
    """Answers gRPC requests for one predictor; loading and unloading stay UNIMPLEMENTED."""

    def __init__(self, predictor: Predictor, dataplane: DataPlane) -> None:
        self._predictor = predictor
        self._dataplane = dataplane

    async def ServerLive(self, request: Any, context: Any) -> Any:
        """False when only a new process can help."""
        return pb.ServerLiveResponse(live=self._predictor.alive)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        """True when requests may be sent here."""
        return pb.ServerReadyResponse(ready=await self._predictor.healthy())

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        """Name, version and protocol extensions of the server."""
        return pb.ServerMetadataResponse(**self._dataplane.metadata())

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """True when the model answers."""
        self._predictor.check_served(request.name, request.version)
        return pb.ModelReadyResponse(ready=await self._predictor.healthy())

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """Inputs, outputs and version; the labels come with every answer."""
        self._predictor.check_served(request.name, request.version)
        metadata = self._predictor.metadata()
        tensor = pb.ModelMetadataResponse.TensorMetadata
        inputs, outputs = (
            [tensor(name=t["name"], datatype=t["datatype"], shape=t["shape"]) for t in tensors]
            for tensors in (metadata["inputs"], metadata["outputs"])
        )
        return pb.ModelMetadataResponse(
            name=metadata["name"],
            versions=metadata["versions"],
            platform=metadata["platform"],
            inputs=inputs,
            outputs=outputs,
        )

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Classify the texts of the BYTES input `text` (and `text_pair`)."""
        self._predictor.check_served(request.model_name, request.model_version)
        size = request.ByteSize()
        large = size >= LARGE_BYTES
        with observed("grpc"), Held() as held:
            held.hold(size)
            asked = await aside(large, request_from_grpc, request)
            headers: dict[str, str] = {}
            answer: Any = await self._predictor.predict(asked, response_headers=headers)
            # Trailing metadata goes with the answer; initial would be sent, and cost, by itself.
            context.set_trailing_metadata(tuple(headers.items()))
            return await aside(large, answer.to_grpc)


class _Statuses(aio.ServerInterceptor):
    """Reads each message, large ones in a thread, and says what each error becomes."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        parse, method = handler.request_deserializer, handler.unary_unary

        async def answer(message: bytes, context: Any) -> Any:
            if self._predictor.closed:
                says = "this server stops and did not take the call; send it to another."
                await context.abort(StatusCode.UNAVAILABLE, says)
            try:
                request = await aside(len(message) >= LARGE_BYTES, parse, message)
                return await method(request, context)
            except Exception as error:  # noqa: BLE001 - each becomes a status
                await _abort(context, error, details.method)

        return unary_unary_rpc_method_handler(answer, None, handler.response_serializer)


async def _abort(context: Any, error: Exception, method: str) -> NoReturn:
    if isinstance(error, DecodeError):
        says = "the message is not the protocol's protobuf message; send the one of its service."
        await context.abort(StatusCode.INVALID_ARGUMENT, says)
    if isinstance(error, InputError):
        await context.abort(StatusCode.INVALID_ARGUMENT, str(error))
    if isinstance(error, ModelNotFound):
        await context.abort(StatusCode.NOT_FOUND, str(error))
    if isinstance(error, OverloadedError):
        # The name that gRPC's retry policy reads (gRFC A6).
        pushback = ("grpc-retry-pushback-ms", str(1000 * RETRY_AFTER_SECONDS))
        await context.abort(StatusCode.RESOURCE_EXHAUSTED, str(error), (pushback,))
    if isinstance(error, NotImplementedError):
        await context.abort(StatusCode.UNIMPLEMENTED, f"{method} is not offered here.")
    logger.error("%s failed", method, exc_info=error)
    says = f"internal error ({type(error).__name__}); the log says more."
    await context.abort(StatusCode.INTERNAL, str(error) if isinstance(error, ModelError) else says)
    raise error


def grpc_server(predictor: Predictor, dataplane: DataPlane, host: str, port: int) -> aio.Server:
    """A gRPC server bound to `host`:`port`, not started. Raises InputError when that is in use."""
    server = aio.server(
        interceptors=[_Statuses(predictor)],
        options=[
            ("grpc.max_receive_message_length", MAX_BODY_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else two servers share a port and its requests unnoticed
        ],
    )
    add_GRPCInferenceServiceServicer_to_server(GrpcService(predictor, dataplane), server)
    try:
        server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise InputError(
            f"port {port} of {host} cannot be bound for gRPC. Choose another with --grpc-port, or "
            "stop what uses it."
        ) from error
    return server

"""KServe's ModelServer around one predictor: its sockets, and what its signals do."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop
from grpc import aio
from kserve import ModelServer
from kserve.protocol.dataplane import DataPlane

from serving.application import Application
from serving.errors import InputError
from serving.grpc_v2 import grpc_server
from serving.http1 import Http1Protocol
from serving.listener import take_no_more
from serving.predictor import Predictor

logger = logging.getLogger("finegate")

LINGER_SECONDS = 1.0
"""After SIGTERM, how long connections are still taken: by its end each client that is active has
been told to close its connection, and so none sends into one that closes."""
SETTLE_SECONDS = 0.5
"""After that, how long connections that began may take to be accepted and to send a request, and
gRPC clients to learn from an UNAVAILABLE that they should ask elsewhere: what reaches gRPC while it
stops is CANCELLED, which clients do not repeat."""
GRACE_SECONDS = 25
"""How long accepted requests may then take. Kubernetes kills 30 s after SIGTERM."""


class PredictorServer(ModelServer):
    """Serves one predictor over HTTP (V1, V2) and gRPC (V2).

    SIGHUP reloads the release; SIGTERM and SIGINT drain and stop.
    """

    def __init__(self, *, listener: socket.socket, host: str, grpc_port: int) -> None:
        """`listener` is bound already. gRPC is bound to `host`; port 0 leaves it out."""
        super().__init__(http_port=listener.getsockname()[1], grpc_port=grpc_port)
        self._listener = listener
        self._host = host
        self.dataplane = _DataPlane(self.registered_models)
        self._reloading: asyncio.Task[None] | None = None
        self._reload_again = False
        self._stopping: asyncio.Task[None] | None = None

    def start(self, models: list[Predictor]) -> None:
        """Serve one predictor until a signal ends it and everything accepted is answered.

        Raises InputError when a port is in use.
        """
        [predictor] = models
        self.register_model(predictor)
        uvloop.run(self._serve_one(predictor))

    async def _serve_one(self, predictor: Predictor) -> None:
        rpc = None
        if self.grpc_port:
            rpc = grpc_server(predictor, self.dataplane, self._host, self.grpc_port)
        try:
            self._listener.listen(2048)
        except OSError as error:  # another process that was bound too, and was faster
            raise InputError(
                f"port {self.http_port} of {self._host} is in use ({error.strerror}). Choose "
                "another with --http-port, or stop what uses it."
            ) from error
        config = uvicorn.Config(
            Application(predictor, self.dataplane),
            http=Http1Protocol,
            ws="none",
            log_config=None,
            access_log=False,  # a line a request is felt in the rate
            lifespan="off",
            proxy_headers=False,  # nobody reads the client's address
            timeout_keep_alive=75,  # longer than the 60 s of usual load balancers
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        rest = _Uvicorn(config)
        if rpc is not None:
            await rpc.start()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload, predictor)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, predictor, rest, rpc)
        # __main__ holds a SIGHUP back while the first release loads; now it may come.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        logger.info(
            "version %s of %s answers at http://%s:%s",
            predictor.loaded.version,
            predictor.name,
            *self._listener.getsockname()[:2],
        )
        await rest.serve(sockets=[self._listener])
        if self._stopping is not None:
            await self._stopping
        logger.info("stopped")
        if self._reloading is not None and not self._reloading.done():
            os._exit(0)  # a load has no end but its own, and nobody is to wait for this one

    def _reload(self, predictor: Predictor) -> None:
        """One load at a time; signals during a load mean one more after it, not one each."""
        if predictor.draining:
            return
        if self._reloading is not None and not self._reloading.done():
            self._reload_again = True
            return
        self._reloading = asyncio.get_running_loop().create_task(self._load_latest(predictor))

    async def _load_latest(self, predictor: Predictor) -> None:
        await predictor.reload()
        while self._reload_again and not predictor.draining:
            self._reload_again = False
            await predictor.reload()

    def _stop(self, predictor: Predictor, rest: uvicorn.Server, rpc: aio.Server | None) -> None:
        if self._stopping is None:
            logger.info("draining: not ready any more, %s s to finish", GRACE_SECONDS)
            predictor.draining = True
            stop = self._stop_soon(predictor, rest, rpc)
            self._stopping = asyncio.get_running_loop().create_task(stop)

    async def _stop_soon(
        self, predictor: Predictor, rest: uvicorn.Server, rpc: aio.Server | None
    ) -> None:
        await asyncio.sleep(LINGER_SECONDS)
        take_no_more(self._listener)
        predictor.closed = True
        await asyncio.sleep(SETTLE_SECONDS)
        rest.should_exit = True
        if rpc is not None:
            await rpc.stop(grace=GRACE_SECONDS)


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to PredictorServer: uvicorn closes its port at once."""
        yield


class _DataPlane(DataPlane):
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = super().metadata()
        return {**metadata, "extensions": ["binary_tensor_data"]}

"""The web application: finds the route, answers errors, and lets clients go while draining."""

import logging

from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from serving.errors import (
    RETRY_AFTER_SECONDS,
    ClientGoneError,
    InputError,
    ModelError,
    OverloadedError,
    TooLargeError,
    TooSlowError,
    UnsupportedEncodingError,
)
from serving.predictor import Predictor
from serving.rest import json_answer, routes

logger = logging.getLogger("finegate")


class Application:
    """Serves one predictor.

    One layer around Starlette's router. Starlette's own application has five, and they take a
    third of the event loop's time for a short text.
    """

    def __init__(self, predictor: Predictor, dataplane: DataPlane) -> None:
        # A slash too many is a 404: a redirect would send texts on to http, whatever they came by.
        self._router = Router(routes(predictor, dataplane), redirect_slashes=False)
        self._predictor = predictor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an error that nobody expected is in the log.

        It is not raised: uvicorn would close a connection of which nobody said so.
        """
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._predictor.draining:
                    # A new connection from SIGTERM on, so that no client sends into a closing one.
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        scope["app"] = self  # the router raises for 404 and 405 where an application answers them
        try:
            await self._router(scope, receive, sending)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            answer = _answer_to(error, scope)
            await answer(scope, receive, sending)
            if answer.status_code == 500:
                logger.error("a request failed", exc_info=error)


def _answer_to(error: Exception, scope: Scope) -> Response:
    match error:
        case TooLargeError():
            return json_answer({"error": str(error)}, 413)
        case TooSlowError():
            return json_answer({"error": str(error)}, 408, {"connection": "close"})
        case UnsupportedEncodingError():
            return json_answer({"error": str(error)}, 415)
        case InputError():
            return json_answer({"error": str(error)}, 400)
        case ModelNotFound():
            return json_answer({"error": str(error)}, 404)
        case OverloadedError():
            retry = {"retry-after": str(RETRY_AFTER_SECONDS)}
            return json_answer({"error": str(error)}, 503, retry)
        case ClientGoneError():
            return Response(status_code=499)  # nobody reads it
        case ModelError():
            return json_answer({"error": str(error)}, 500)
        case HTTPException():
            asked = f"{scope['method'][:20]} {scope['path'][:200]}"
            says = f"{asked} is not offered here; GET /openapi.json lists what is."
            return json_answer({"error": says}, error.status_code, dict(error.headers or {}))
    # The exception's text could hold a part of a user's text: it is for the log's readers alone.
    says = f"internal error ({type(error).__name__}); the log says more."
    return json_answer({"error": says}, 500)

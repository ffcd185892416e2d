"""What every answer of the dashboard carries, and which requests it refuses."""

from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""A report came out of the store: it may style itself and do nothing else, not even as our page."""
MOST_BYTES = 64 * 1024


class Headers:
    """ASGI middleware: a strict policy on every answer that has none of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", POLICY)
                headers.setdefault("cache-control", "no-store")
                headers["x-content-type-options"] = "nosniff"
                # Not no-referrer: browsers then send `Origin: null` with our own form.
                headers["referrer-policy"] = "same-origin"
                headers["cross-origin-opener-policy"] = "same-origin"
                headers["cross-origin-resource-policy"] = "same-origin"
            await send(message)

        await self._app(scope, receive, sending)


async def form_field(request: Request, name: str) -> str:
    """A field of a form that our own page sent.

    Raises HTTPException: 403 for a form of another site, 415 for what is no form, 413 for one over
    MOST_BYTES, of which no more is read.
    """
    origin = request.headers.get("origin")
    same = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not same or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "This form was sent from another page. Use the one shown here.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Send the form as application/x-www-form-urlencoded.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"The text is too long: a form may have {MOST_BYTES} bytes.")
    fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=8, errors="replace")
    return fields.get(name, [""])[0]

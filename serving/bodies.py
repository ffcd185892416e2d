"""Request bodies: read within a limit, and decompressed within the same limit."""

import asyncio
import zlib
from typing import Self

from starlette.requests import ClientDisconnect, Request

from serving.errors import (
    ClientGoneError,
    InputError,
    OverloadedError,
    TooLargeError,
    TooSlowError,
    UnsupportedEncodingError,
)

MAX_BODY_BYTES = 16 << 20
BODY_SECONDS = 60
"""In which a body comes, or the room that it takes is given to others."""
HELD_BYTES = 128 << 20
"""Of all bodies together, from their first bytes to their answers."""
SMALL_BYTES = 1 << 16
"""Bodies up to here are taken whatever the others hold: a connection alone costs about as much."""
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib.h, inflateInit2: which of the two its header tells


class Held:
    """What one request's body holds of HELD_BYTES, until the context ends. For one thread alone."""

    _by_all = 0

    def __init__(self) -> None:
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        Held._by_all -= self._bytes

    def hold(self, size: int) -> None:
        """Hold so many bytes in all; raises OverloadedError where others leave no room for them."""
        others = Held._by_all - self._bytes
        if others and size > SMALL_BYTES and others + size > HELD_BYTES:
            raise OverloadedError
        Held._by_all, self._bytes = others + size, size


async def body_of(request: Request, held: Held) -> bytes:
    """The body, decompressed, as `held` allows.

    Raises TooLargeError beyond MAX_BODY_BYTES before or after that, TooSlowError after BODY_SECONDS
    and OverloadedError when other bodies leave no room.
    """
    size = int(request.headers.get("content-length", 0))  # uvicorn refuses what is no number
    if size > MAX_BODY_BYTES:
        raise _too_large(size)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise _too_large(size)
                held.hold(size)
    except ClientDisconnect as error:
        raise ClientGoneError from error
    except TimeoutError as error:
        raise TooSlowError(
            f"of the body {size} bytes came in {BODY_SECONDS} s; it must come whole in that time. "
            "Send fewer texts a request."
        ) from error
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    body = await asyncio.to_thread(decompressed, body, encoding)
    held.hold(len(body))
    return body


def decompressed(body: bytes, encoding: str) -> bytes:
    """`body` without its Content-Encoding, gzip or deflate (RFC 9110, 8.4.1).

    Raises UnsupportedEncodingError for another, InputError for data that is not in it and
    TooLargeError beyond MAX_BODY_BYTES.
    """
    if encoding not in ("gzip", "deflate"):
        raise UnsupportedEncodingError(
            f"the Content-Encoding is {encoding[:40]!r}; send the body as it is, or with gzip or "
            "deflate."
        )
    reader = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        content = reader.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise InputError(
            f"the body ({len(body)} bytes) is not {encoding}, as its Content-Encoding says "
            f"({error}). Compress it so, or leave the header out."
        ) from error
    if len(content) > MAX_BODY_BYTES:
        raise _too_large(len(content))
    if not reader.eof or reader.unused_data:
        end = "goes on after" if reader.eof else "ends before"
        raise InputError(
            f"the body ({len(body)} bytes) {end} the end of its {encoding} data; send one whole "
            "compressed document."
        )
    return content


def _too_large(size: int) -> TooLargeError:
    return TooLargeError(
        f"the body has {size} bytes or more; {MAX_BODY_BYTES} is the most it may have. Send "
        "fewer texts a request."
    )

"""Request bodies over HTTP: read within a limit, and decompressed within the same limit."""

import asyncio
import zlib

from starlette.requests import ClientDisconnect, Request

from serving.errors import ClientGoneError, InputError, TooLargeError, UnsupportedEncodingError

MAX_BODY_BYTES = 16 << 20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib.h, inflateInit2: which of the two its header tells


async def body_of(request: Request) -> bytes:
    """The body, decompressed; raises TooLargeError beyond MAX_BODY_BYTES before or after that."""
    size = int(request.headers.get("content-length", 0))  # uvicorn refuses what is no number
    if size > MAX_BODY_BYTES:
        raise _too_large(size)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _too_large(size)
    except ClientDisconnect as error:
        raise ClientGoneError from error
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    return await asyncio.to_thread(decompressed, body, encoding)


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

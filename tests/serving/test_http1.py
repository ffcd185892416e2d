"""HTTP/1.1: offers of another protocol are declined and lose no body, and heads have an end."""

import asyncio
import json
import socket
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from serving import http1
from serving.http1 import HEAD_BYTES, Http1Protocol
from tests.serving.conftest import PREDICT, Server

BODY = b'{"instances": ["a clean room"]}'
OFFERS = {
    "h2c": [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"],
    "websocket": [b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"],
}


def message(*headers: bytes, body: bytes = BODY, start: bytes = b"") -> bytes:
    start = start or b"POST " + PREDICT.encode() + b" HTTP/1.1"
    return b"\r\n".join([start, b"Host: hotels", *headers, b"", body])


def sized(*headers: bytes) -> bytes:
    return message(*headers, b"Content-Length: %d" % len(BODY))


def chunked(*headers: bytes) -> bytes:
    body = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    return message(*headers, b"Transfer-Encoding: chunked", body=body)


class Connection(asyncio.Transport):
    """What the protocol writes to, and what its application got."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[str, bytes]] = []
        self.headers: list[list[bytes]] = []
        self.written = b""
        self.closed = False

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            received = await receive()
            body, more = body + received["body"], received["more_body"]
        self.got.append((scope["path"], body))
        self.headers.append([name for name, _ in scope["headers"]])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def fed(*parts: bytes) -> Connection:
    """A connection on which these parts came."""
    connection, state = Connection(), ServerState()
    config = uvicorn.Config(connection.application, interface="asgi3", ws="none", log_config=None)
    protocol = Http1Protocol(config, state, {})
    protocol.connection_made(connection)
    for part in parts:
        protocol.data_received(part)
        while state.tasks and not protocol.cycle.more_body:
            await asyncio.sleep(0)
    for task in list(state.tasks):
        task.cancel()
    return connection


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("request_of", [sized, chunked])
def test_a_request_with_an_offer_keeps_its_body_wherever_its_packets_end(
    request_of: Any, offer: list[bytes]
) -> None:
    sent = request_of(*offer)

    async def all_cuts() -> None:
        for cut in range(len(sent)):
            connection = await fed(sent[:cut], sent[cut:])
            assert connection.got == [(PREDICT, BODY)], sent[:cut]
            assert connection.written.startswith(b"HTTP/1.1 204")
            assert not connection.closed

    asyncio.run(all_cuts())


def test_requests_with_offers_and_without_share_a_connection() -> None:
    sent = [sized(*OFFERS["h2c"]), chunked(), chunked(*OFFERS["websocket"]), sized()]
    assert asyncio.run(fed(*sent)).got == [(PREDICT, BODY)] * 4
    assert asyncio.run(fed(b"".join(sent))).got == [(PREDICT, BODY)] * 4


def test_a_trailer_is_no_header_however_it_comes() -> None:
    trailer = b"Content-Encoding: gzip\r\n\r\n"
    start = chunked()[: -len(b"\r\n")]
    for parts in ([start + trailer], [start, trailer]):
        connection = asyncio.run(fed(*parts))
        assert [body for _, body in connection.got] == [BODY]
        assert connection.headers == [[b"host", b"transfer-encoding"]]


def test_an_offer_to_close_is_still_heard() -> None:
    sent = message(b"Connection: close, Upgrade", b"Upgrade: h2c", b"Content-Length: 0", body=b"")
    connection = asyncio.run(fed(sent))
    assert connection.got == [(PREDICT, b"")]
    assert connection.closed


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"nonsense\r\n\r\n", b"not HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"not HTTP/1.1"),
        (b"CONNECT other:80 HTTP/1.1\r\nHost: other\r\n\r\n", b"CONNECT"),
        (message(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: -1"), b"not HTTP/1.1"),
    ],
    ids=["nonsense", "HTTP/2", "CONNECT", "length"],
)
def test_what_is_no_request_is_a_400_and_the_end(sent: bytes, says: bytes) -> None:
    connection = asyncio.run(fed(sent))
    assert connection.written.startswith(b"HTTP/1.1 400")
    assert says in connection.written
    assert (connection.got, connection.closed) == ([], True)


@pytest.mark.parametrize(
    "start",
    [
        message(b"X-Long: ", body=b"").rstrip(),
        message(b"X-Many: a\r\n" * 100, body=b"").rstrip(),
        b"POST /v1/",
        message(b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\nX-Trailer: "),
    ],
    ids=["a header", "many headers", "a path", "a trailer"],
)
def test_a_head_or_trailer_without_an_end_is_refused(start: bytes) -> None:
    parts = [start, *[b"a" * 1024] * (HEAD_BYTES // 1024 + 1)]
    connection = asyncio.run(fed(*parts))
    assert connection.written.startswith(b"HTTP/1.1 400")
    assert str(HEAD_BYTES).encode() in connection.written
    assert connection.closed


def test_a_body_is_no_head_however_it_comes() -> None:
    body = b"a" * 4 * HEAD_BYTES
    head = message(b"Content-Length: %d" % len(body), body=b"")
    parts = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    assert asyncio.run(fed(head, *parts)).got == [(PREDICT, body)]
    chunks = [piece for part in parts for piece in (b"%x\r\n" % len(part), part + b"\r\n")]
    head = message(b"Transfer-Encoding: chunked", body=b"")
    assert asyncio.run(fed(head, *chunks, b"0\r\n\r\n")).got == [(PREDICT, body)]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_the_server_answers_a_client_that_offers_another_protocol(
    server: Server, offer: list[bytes]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        for request in (sized(*offer), chunked(*offer), sized()):
            client.sendall(request)
            answer = client.makefile("rb")
            assert answer.readline().split()[1] == b"200"
            headers = dict(line.rstrip().split(b": ", 1) for line in iter(answer.readline, b"\r\n"))
            predictions = json.loads(answer.read(int(headers[b"content-length"])))["predictions"]
            assert len(predictions) == 1


ANSWER = 32 << 20
"""Bytes that the sockets of both ends do not hold."""


async def asked(reads: bool, monkeypatch: pytest.MonkeyPatch) -> int:
    """The bytes of a large answer that come to a client that reads it slowly, or not at first."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a" * ANSWER})

    monkeypatch.setattr(http1, "UNREAD_SECONDS", 0.2)
    config = uvicorn.Config(application, interface="asgi3", ws="none", log_config=None)
    state, loop = ServerState(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Http1Protocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: hotels\r\nConnection: close\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    if not reads:
        while state.connections:  # until the server has ended the connection
            await asyncio.sleep(0.01)
    got = 0
    try:
        while part := await reader.read(1 << 20):
            got += len(part)
            await asyncio.sleep(0.02)  # in all longer than UNREAD_SECONDS
    except ConnectionResetError:
        pass
    writer.close()
    server.close()
    return got


@pytest.mark.parametrize("reads", [True, False])
def test_an_answer_that_nobody_reads_is_not_kept_and_one_that_is_read_slowly_is(
    reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = asyncio.run(asyncio.wait_for(asked(reads, monkeypatch), 60))
    assert got >= ANSWER if reads else got < ANSWER

"""Over HTTP, requests that nobody would write: never a 5xx, never a hang, each 4xx says why."""

import contextlib
import gzip
import http.client
import io
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.conftest import INFER, PREDICT, Server
from tests.serving.junk import NESTED, SECONDS, TEXT, V1, V2, cases, encoded, unhurt


class Connection:
    """Sends what a test drew, over a kept-alive connection where it can."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)

    def send(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        """Post `body` and check the answer; its status."""
        try:
            self._http.request("POST", path, body, headers or {})
            answer = self._http.getresponse()
            content = answer.read()
        except TimeoutError:
            self.close()
            pytest.fail(f"no answer within {SECONDS} s")
        check(answer.status, content)
        return answer.status

    def close(self) -> None:
        self._http.close()


def check(status: int, content: bytes) -> None:
    assert status < 500, content
    if status >= 400:
        says = json.loads(content)["error"]
        assert 20 < len(says) < 1000, says


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[Connection]:
    with contextlib.closing(Connection(server)) as connection:
        yield connection


@pytest.fixture(scope="module", autouse=True)
def at_the_end(server: Server) -> Iterator[None]:
    with unhurt(server):
        yield


@cases(2800)
@given(V1 | NESTED)
def test_v1_bodies(connection: Connection, document: Any) -> None:
    connection.send(PREDICT, encoded(document))


@cases(2800)
@given(V2 | NESTED)
def test_v2_bodies(connection: Connection, document: Any) -> None:
    connection.send(INFER, encoded(document))


@cases(500)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_texts_of_every_plane_are_classified(connection: Connection, texts: list[str]) -> None:
    assert connection.send(PREDICT, encoded({"instances": texts})) == 200
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    assert connection.send(INFER, encoded({"inputs": [tensor]})) == 200


@cases(1200)
@given(
    st.lists(TEXT, max_size=3),
    st.binary(max_size=20),
    st.integers(-3, 3),
    st.integers(-3, 3) | st.just(0),
    st.none() | st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=9),
)
def test_binary_tensors(
    connection: Connection,
    texts: list[str],
    garbage: bytes,
    longer: int,
    later: int,
    header: str | None,
) -> None:
    coded = [text.encode(errors="surrogatepass") for text in texts]
    binary = b"".join(struct.pack("<I", len(each)) + each for each in coded) + garbage
    tensor = {
        "name": "text",
        "shape": [len(texts)],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(binary) + longer},
    }
    head = encoded({"inputs": [tensor]})
    length = str(len(head) + later) if header is None else header
    connection.send(INFER, head + binary, {"inference-header-content-length": length.strip()})


@cases(800)
@given(
    st.sampled_from([PREDICT, INFER]),
    st.binary(max_size=60) | V1.map(encoded) | V2.map(encoded),
    st.sampled_from(
        ["application/json", "text/xml", "multipart/form-data", "x", "", "a/b; charset=z"]
    ),
    st.sampled_from([None, "gzip", "deflate", "br", "identity", "gzip, gzip", "\xff"]),
    st.booleans(),
    st.integers(0, 8),
)
def test_content_types_and_encodings(
    connection: Connection,
    path: str,
    body: bytes,
    content_type: str,
    encoding: str | None,
    packed: bool,
    cut: int,
) -> None:
    headers = {"content-type": content_type}
    if encoding is not None:
        headers["content-encoding"] = encoding
    sent = gzip.compress(body, 1) if packed else body
    connection.send(path, sent[: len(sent) - cut], headers)


HEADS = (
    *("content-length: {}", "content-length: -1", "content-length: x", "content-length: 99"),
    *("content-length: {}\r\ncontent-length: 3", "content-length: " + "9" * 30),
    *("transfer-encoding: chunked", "transfer-encoding: x", "expect: 100-continue"),
    *("upgrade: websocket\r\nconnection: upgrade", "x: {long}", "\x00: 1"),
)
LINES = (
    *(f"POST {PREDICT} HTTP/1.1", f"POST {INFER} HTTP/1.0", f"PUT {PREDICT} HTTP/1.1"),
    *("GET /v2/models/%ff%00 HTTP/1.1", "POST /v1/models/hotels%2F..:predict HTTP/1.1"),
    *("JUNK", "POST / HTTP/9.9", "OPTIONS * HTTP/1.1", "GET http://x/v2 HTTP/1.1", ""),
)


@cases(500)
@given(
    st.sampled_from(LINES),
    st.lists(st.sampled_from(HEADS), max_size=3),
    V1.map(encoded) | st.sampled_from([b"", b"5\r\nabcde\r\n0\r\n\r\n", b"zz\r\n", b"\xff" * 9]),
)
def test_broken_http_is_answered_with_a_4xx_or_closed(
    server: Server, line: str, heads: list[str], body: bytes
) -> None:
    lines = [
        line,
        "host: x",
        *(head.format(len(body), long="y" * 70_000) for head in heads),
        "",
        "",
    ]
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection,
        contextlib.suppress(ConnectionError),  # refused before all of it was sent
    ):
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        with contextlib.suppress(OSError):  # closed already
            connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(1 << 16):
            answer += chunk
    for status, content in answers(answer):
        assert status < 500, answer
        assert status < 400 or 20 < len(content) < 1000, answer


class Received(io.BytesIO):
    """What came over a connection, as the socket that http.client reads one answer from."""

    def makefile(self, _: str) -> "Received":
        return self

    def close(self) -> None:
        """Stay open: there may be another answer."""


def answers(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Status and content of each of the answers in `received`."""
    stream = Received(received)
    while stream.tell() < len(received):
        answer = http.client.HTTPResponse(stream)  # type: ignore[arg-type]  # uses makefile alone
        answer.begin()
        yield answer.status, answer.read()


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("unit", ["good ", "x", "\U0001f600", "\x00", "好", "a\u0301"])
def test_texts_of_10_mb_are_refused_and_those_at_the_limit_answered(
    connection: Connection, path: str, unit: str
) -> None:
    for characters, statuses in ((1_000_000, {200}), (10_000_000, {400, 413})):
        text = (unit * (characters // len(unit) + 1))[:characters]
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        body = {"instances": [text]} if path == PREDICT else {"inputs": [tensor]}
        content = json.dumps(body, ensure_ascii=False).encode()
        assert connection.send(path, content) in statuses


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"instances":[', '{"inputs":[['])
def test_nesting_without_end(connection: Connection, path: str, opening: str) -> None:
    for depth in (10, 1_000, 1_000_000):
        assert connection.send(path, (opening * depth).encode()) == 400

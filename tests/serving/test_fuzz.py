"""10,000 requests that nobody would write: never a 5xx, never a hang, and each 4xx says why.

The same cases each time; `pytest --hypothesis-profile=deep tests/serving/test_fuzz.py` draws ten
times as many at random.
"""

import contextlib
import gzip
import http.client
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from tests.serving.conftest import INFER, PREDICT, Server

SECONDS = 10
"""Bound of one answer. All of this runs beside other things on 2 cores; usual are 2 ms."""
SCALE = settings.default.max_examples / 100 if settings.default else 1


def cases(count: int) -> settings:
    return settings(max_examples=int(count * SCALE), deadline=None)


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
def unhurt(server: Server) -> Iterator[None]:
    """After all of it the server answers, nothing waits, and nothing failed inside."""
    yield
    assert server.post({"instances": ["us"]}).status_code == 200
    assert server.metric("finegate_waiting_texts") == 0
    assert server.metric("finegate_requests_total", outcome="failed") == 0
    assert "Traceback" not in server.log.read_text()


# Every plane, controls, and what JSON escapes can say and UTF-8 cannot.
CHARACTERS = st.characters() | st.integers(0, 0x10FFFF).map(chr)
TEXT = st.text(CHARACTERS, max_size=30) | st.sampled_from(["", "us", "\ud800", "\x00", "\ufeff"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["text", "text_pair", "BYTES", "FP32", 2**63, 2**70, -1, 1e999])
)
WORDS = (
    *("instances", "parameters", "text", "text_pair", "top_k", "raw_logits"),
    *("inputs", "outputs", "name", "shape", "datatype", "data", "id", "binary_data_size"),
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


def encoded(document: Any) -> bytes:
    """JSON in ASCII, so that lone surrogates can be sent, with NaN and Infinity as Python has."""
    return json.dumps(document).encode()


def some(**members: Any) -> Any:
    """Objects in which each member may be absent, or nonsense."""
    drawn = {name: value | NESTED for name, value in members.items()}
    return st.fixed_dictionaries({}, optional=drawn)


INSTANCE = TEXT | some(text=TEXT, text_pair=TEXT)
V1 = some(
    instances=st.lists(INSTANCE, max_size=4),
    parameters=some(top_k=st.integers(-1, 5), raw_logits=st.booleans()),
)
TENSOR = some(
    name=st.sampled_from(["text", "text_pair", "other"]),
    shape=st.lists(st.integers(-1, 3), max_size=3),
    datatype=st.sampled_from(["BYTES", "FP32", "bytes"]),
    data=st.lists(TEXT | st.lists(TEXT, max_size=2), max_size=3),
    parameters=some(binary_data_size=st.integers(-1, 40)),
)
OUTPUT = some(
    name=st.sampled_from(["label", "score", "probabilities", "logits", "top_labels", "nope"]),
    parameters=some(binary_data=st.booleans(), classification=st.integers()),
)
V2 = some(
    id=TEXT,
    inputs=st.lists(TENSOR, max_size=3),
    outputs=st.lists(OUTPUT, max_size=3),
    parameters=some(top_k=st.integers(-1, 5), binary_data_output=st.booleans()),
)


@cases(2200)
@given(V1 | NESTED)
def test_v1_bodies(connection: Connection, document: Any) -> None:
    connection.send(PREDICT, encoded(document))


@cases(2200)
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
    statuses = [
        int(each.split()[1]) for each in answer.split(b"\r\n") if each.startswith(b"HTTP/1.1 ")
    ]
    assert all(status < 500 for status in statuses), answer


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("unit", ["good ", "x", "\U0001f600", "\x00", "好", "a\u0301"])
def test_texts_of_10_mb_are_refused_and_those_at_the_limit_answered(
    connection: Connection, path: str, unit: str
) -> None:
    for characters, status in ((1_000_000, 200), (10_000_000, 400)):
        text = (unit * (characters // len(unit) + 1))[:characters]
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        body = {"instances": [text]} if path == PREDICT else {"inputs": [tensor]}
        content = json.dumps(body, ensure_ascii=False).encode()
        assert connection.send(path, content) == status


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"instances":[', '{"inputs":[['])
def test_nesting_without_end(connection: Connection, path: str, opening: str) -> None:
    for depth in (10, 1_000, 1_000_000):
        assert connection.send(path, (opening * depth).encode()) == 400


Parameter = st.builds(
    pb.InferParameter,
    bool_param=st.booleans(),
) | st.builds(pb.InferParameter, string_param=st.text(max_size=3))
CODED = TEXT.map(lambda text: text.encode(errors="surrogatepass"))
CONTENTS = st.builds(
    pb.InferTensorContents,
    bytes_contents=st.lists(CODED | st.binary(max_size=5), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=2),
)
SHAPE = st.lists(st.integers(-1, 3) | st.sampled_from([2**62, -(2**63)]), max_size=3)
RPC = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("hotels") | st.text(max_size=3),
    model_version=st.sampled_from(["", "one", "x" * 300]),
    id=st.text(max_size=3),
    parameters=st.dictionaries(st.sampled_from(["top_k", "raw_logits"]), Parameter, max_size=2),
    inputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferInputTensor,
            name=st.sampled_from(["text", "text_pair", "", "x" * 99]),
            datatype=st.sampled_from(["BYTES", "FP32", ""]),
            shape=SHAPE,
            contents=st.none() | CONTENTS,
        ),
        max_size=2,
    ),
    outputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferRequestedOutputTensor,
            name=st.sampled_from(["label", "logits", "nope", ""]),
        ),
        max_size=2,
    ),
    raw_input_contents=st.lists(
        st.binary(max_size=12) | CODED.map(lambda coded: struct.pack("<I", len(coded)) + coded),
        max_size=2,
    ),
)
CLIENT_FAULTS = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}


@pytest.fixture(scope="module")
def call(server: Server) -> Iterator[Any]:
    """ModelInfer that sends bytes as they are."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")


def check_rpc(call: Any, message: bytes) -> None:
    error = call.future(message, timeout=SECONDS).exception()
    if error is not None:
        assert error.code().name in CLIENT_FAULTS, error
        assert 20 < len(error.details()) < 1000, error


@cases(1200)
@given(RPC)
def test_grpc_messages(call: Any, message: Any) -> None:
    check_rpc(call, message.SerializeToString())


@cases(300)
@given(st.binary(max_size=40) | RPC.map(lambda message: message.SerializeToString()[:-1]))
def test_grpc_bytes_that_are_no_message(call: Any, message: bytes) -> None:
    check_rpc(call, message)


def test_a_grpc_text_of_10_mb_is_refused(call: Any) -> None:
    contents = pb.InferTensorContents(bytes_contents=[b"x" * 10_000_000])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[1], contents=contents
    )
    message = pb.ModelInferRequest(model_name="hotels", inputs=[tensor])
    began = time.monotonic()
    with pytest.raises(grpc.RpcError, match="10000000 characters"):
        call(message.SerializeToString(), timeout=SECONDS)
    assert time.monotonic() - began < SECONDS

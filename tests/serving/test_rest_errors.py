"""Over HTTP, what each bad request is told."""

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from serving.bodies import MAX_BODY_BYTES
from tests.serving.conftest import INFER, PREDICT, Server, v2

V1_BAD = [
    (b"", "0 bytes"),
    (b"{", "not JSON"),
    (b"\xff\xfe", "not JSON"),
    (b"NaN", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b'{"instances": ["\\ud800"]}', "surrogate"),
    (b"{}", "without instances"),
    (b"null", "null without instances"),
    (b'{"instances": null}', "instances is null"),
    (b'{"instances": []}', "0 texts; send 1 to"),
    (b'{"instances": [null]}', "instances[0] is null"),
    (b'{"instances": [1.5]}', "instances[0] is a number"),
    (b'{"instances": [[["a"]]]}', "instances[0] is a list"),
    (b'{"instances": [{"txt": "a"}]}', "the keys 'txt'"),
    (json.dumps({"instances": ["x" * 1_000_001]}).encode(), "1000001 characters"),
]
TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
V2_BAD = [
    (b"{", "not JSON"),
    ({}, "inputs is null"),
    ({"inputs": []}, "named nothing"),
    ({"inputs": [{**TENSOR, "name": "txt"}]}, "named 'txt'"),
    ({"inputs": [TENSOR, TENSOR]}, "'text', 'text'"),
    ({"inputs": [{**TENSOR, "datatype": "FP32", "data": [1.0]}]}, "datatype FP32"),
    ({"inputs": [{**TENSOR, "shape": [2]}]}, "the shape [2] and 1 texts"),
    ({"inputs": [{**TENSOR, "shape": [-1]}]}, "the shape [-1]"),
    ({"inputs": [{**TENSOR, "shape": [1, 1, 1]}]}, "the shape [1, 1, 1]"),
    ({"inputs": [{**TENSOR, "shape": [0], "data": []}]}, "0 texts"),
    ({"inputs": [{**TENSOR, "data": [None]}]}, "text[0] is null"),
    ({"inputs": [TENSOR], "outputs": [{"name": "nope"}]}, "the output 'nope'"),
    ({"inputs": [TENSOR], "parameters": {"raw_logits": "yes"}}, "raw_logits is a text"),
]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [*((PREDICT, *case) for case in V1_BAD), *((INFER, *case) for case in V2_BAD)],
    ids=lambda value: repr(value)[:40],
)
def test_bad_input_is_a_400_that_says_what_was_wrong(
    server: Server, path: str, body: Any, says: str
) -> None:
    answer = server.post(body, path)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize("length", [b"zz", b"-1", b"999", b"\xb2", b"9" * 5000], ids=len)
def test_a_broken_binary_header_is_a_400(server: Server, length: bytes) -> None:
    headers = {"inference-header-content-length": length}
    answer = httpx.post(server.url(INFER), content=b"{}", headers=headers)
    assert (answer.status_code, "Length is" in answer.json()["error"]) == (400, True)


def test_a_body_beyond_the_limit_is_a_413_with_and_without_a_length(server: Server) -> None:
    assert server.post(b"x" * (MAX_BODY_BYTES + 1)).status_code == 413

    def chunks() -> Any:
        for _ in range(MAX_BODY_BYTES // (1 << 20) + 1):
            yield b"x" * (1 << 20)

    answer = httpx.post(server.url(PREDICT), content=chunks(), timeout=60)
    assert (answer.status_code, "fewer texts" in answer.text) == (413, True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "GZIP", "identity"])
def test_compressed_bodies_are_read(server: Server, encoding: str) -> None:
    body = json.dumps(v2(["us"])).encode()
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}
    packed = pack[encoding.lower()](body)
    answer = server.post(packed, INFER, **{"content-encoding": encoding})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("br", b"{}", 415, "Content-Encoding is 'br'"),
        ("gzip, gzip", b"{}", 415, "'gzip, gzip'"),
        ("gzip", b"{}", 400, "(2 bytes) is not gzip"),
        ("gzip", b"", 400, "ends before"),
        ("gzip", gzip.compress(b"{}")[:-1], 400, "ends before"),
        ("gzip", gzip.compress(b"{}") + b"x", 400, "goes on after"),
        ("gzip", gzip.compress(b" " * (MAX_BODY_BYTES + 1)), 413, "fewer texts"),
    ],
    ids=["br", "twice", "json", "empty", "cut", "more", "bomb"],
)
def test_what_is_wrong_with_a_compressed_body_is_said(
    server: Server, encoding: str, body: bytes, status: int, says: str
) -> None:
    answer = server.post(body, PREDICT, **{"content-encoding": encoding})
    assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text


def test_an_accept_header_that_means_nothing_is_a_400(server: Server) -> None:
    headers = {"accept": "text/plain; version=abc"}
    answer = httpx.get(server.url("/metrics"), headers=headers)
    assert (answer.status_code, "Accept header" in answer.json()["error"]) == (400, True)
    headers = {"accept": "application/openmetrics-text; version=1.0.0"}
    answer = httpx.get(server.url("/metrics"), headers=headers)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")

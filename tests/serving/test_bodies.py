"""What bodies hold of the memory, and how long they may take to come."""

import asyncio
import gzip
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from starlette.requests import Request

from serving import bodies
from serving.bodies import HELD_BYTES, MAX_BODY_BYTES, SMALL_BYTES, Held, body_of
from serving.errors import ClientGoneError, OverloadedError, TooSlowError
from tests.serving.conftest import PREDICT, Server, until

LARGE = {"instances": ["a" * 1000] * 1000}


def asked(
    chunks: Sequence[bytes], held: Held, *, more: bool = False, encoding: str = "identity"
) -> bytes:
    """The body of a request that came in these chunks; with `more` the client says no more."""
    left = list(chunks)

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or more}

    headers = [(b"content-encoding", encoding.encode())]
    scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": headers}
    return asyncio.run(body_of(Request(scope, receive), held))


def test_bodies_hold_no_more_together_than_they_may_and_give_it_back() -> None:
    with ExitStack() as stack:
        for _ in range(HELD_BYTES // MAX_BODY_BYTES):
            held = stack.enter_context(Held())
            held.hold(MAX_BODY_BYTES // 2)
            held.hold(MAX_BODY_BYTES)
        with Held() as late, pytest.raises(OverloadedError):
            asked([b"a" * SMALL_BYTES, b"a"], late)
        with Held() as small:
            assert asked([b"a" * SMALL_BYTES], small) == b"a" * SMALL_BYTES
    with Held() as alone:
        alone.hold(2 * HELD_BYTES)
    with Held() as fresh, Held() as other:
        fresh.hold(HELD_BYTES // 2)
        other.hold(HELD_BYTES // 2)
        with pytest.raises(OverloadedError):
            other.hold(HELD_BYTES // 2 + 1)


def test_a_compressed_body_holds_what_it_decompresses_to() -> None:
    content = b"a" * MAX_BODY_BYTES
    packed = gzip.compress(content)
    with Held() as others:
        others.hold(HELD_BYTES - MAX_BODY_BYTES)
        with Held() as fits:
            assert asked([packed], fits, encoding="gzip") == content
        others.hold(HELD_BYTES - MAX_BODY_BYTES + 1)
        with Held() as held, pytest.raises(OverloadedError):
            asked([packed], held, encoding="gzip")


def test_a_body_that_does_not_come_in_time_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.01)
    with Held() as held, pytest.raises(TooSlowError, match="5 bytes came in"):
        asked([b"hello"], held, more=True)


def test_a_client_that_leaves_is_not_waited_for() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)
    with Held() as held, pytest.raises(ClientGoneError):
        asyncio.run(body_of(request, held))


def refused(server: Server) -> float:
    return server.metric("finegate_requests_total", outcome="overloaded")


@pytest.fixture
def crowded(start: Callable[..., Server]) -> Iterator[Server]:
    """A server at which unfinished bodies hold all that bodies may, of which two were refused."""
    server = start()
    server.wait_for("one")
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES}\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(HELD_BYTES // MAX_BODY_BYTES + 2):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))
            client.sendall(head.encode() + b"a" * (MAX_BODY_BYTES - 1))
        until(lambda: refused(server) == 2, server.log)
        yield server
    until(lambda: server.post(LARGE).status_code == 200, server.log)


def test_large_requests_are_refused_while_others_hold_the_memory_and_small_ones_answered(
    crowded: Server,
) -> None:
    answer = crowded.post(LARGE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert crowded.post({"instances": ["us"]}).status_code == 200

    def infer(texts: list[bytes]) -> Any:
        tensor = pb.ModelInferRequest.InferInputTensor(
            name="text", datatype="BYTES", shape=[len(texts)]
        )
        tensor.contents.bytes_contents.extend(texts)
        return crowded.stub().ModelInfer(pb.ModelInferRequest(model_name="hotels", inputs=[tensor]))

    with pytest.raises(grpc.RpcError) as error:
        infer([text.encode() for text in LARGE["instances"]])
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert infer([b"us"]).outputs

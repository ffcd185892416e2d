"""Too much load: what is accepted, what is refused at once, and what a client that left costs."""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from serving.errors import OverloadedError
from tests.serving.conftest import HEAVY, PREDICT, Server, until


def test_what_does_not_fit_the_queue_is_refused_at_once_and_served_later(
    start: Callable[..., Server],
) -> None:
    server = start("--max-queue", "4")
    server.wait_for("one")
    tensor = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    asked = pb.ModelInferRequest(
        model_name="hotels", inputs=[tensor], raw_input_contents=[b"\x02\x00\x00\x00us"]
    )
    short = {"instances": ["the room was clean"] * 10_000}
    with ThreadPoolExecutor() as pool:
        large = pool.submit(server.post, short)
        until(lambda: server.metric("finegate_waiting_texts") > 1000, server.log)
        began = time.monotonic()
        shed = server.post({"instances": ["us"]})
        with pytest.raises(grpc.RpcError) as error:
            server.stub().ModelInfer(asked)
        ready = server.get("/v2/models/hotels/ready")
        took = time.monotonic() - began
        assert not large.done(), "the large request was too fast to fill the queue"
        assert large.result().status_code == 200
    assert (shed.status_code, shed.headers["retry-after"]) == (503, "1")
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("grpc-retry-pushback-ms", "1000") in error.value.trailing_metadata()
    assert (ready.status_code, took < 2) == (200, True)
    assert server.metric("finegate_requests_total", outcome="overloaded") == 2
    assert server.post({"instances": ["us"]}).status_code == 200
    assert server.stub().ModelInfer(asked).model_version == "one"
    assert "Traceback" not in server.log.read_text()


def test_under_a_flood_the_server_answers_what_it_can_in_time_and_refuses_the_rest(
    start: Callable[..., Server],
) -> None:
    server = start("--max-wait", "0.2", "--max-queue", "1000000")
    server.wait_for("one")
    assert server.post(HEAVY).status_code == 200  # the rate is known from here on
    flood = {"instances": HEAVY["instances"][:1000]}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.post(flood), range(60)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["error"] for answer in refused} == {str(OverloadedError())}
    assert server.metric("finegate_requests_total", outcome="overloaded") == len(refused)
    assert server.metric("finegate_predicted_labels_total") == 3_000 + 1_000 * statuses.count(200)
    assert server.metric("finegate_waiting_texts") == 0
    assert server.post({"instances": ["us"]}).status_code == 200


def test_a_grpc_client_that_cancels_costs_nothing_more(server: Server) -> None:
    before = server.metric("finegate_batch_texts_sum")
    gone = server.metric("finegate_requests_total", protocol="grpc", outcome="gone")
    tensor = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[9_000])
    asked = pb.ModelInferRequest(
        model_name="hotels", inputs=[tensor], raw_input_contents=[b"\x02\x00\x00\x00us" * 9_000]
    )
    call = server.stub().ModelInfer.future(asked)
    until(lambda: server.metric("finegate_waiting_texts") > 0, server.log)
    assert call.cancel()
    until(lambda: server.metric("finegate_waiting_texts") == 0, server.log)
    assert server.metric("finegate_requests_total", protocol="grpc", outcome="gone") == gone + 1
    assert server.metric("finegate_batch_texts_sum") - before < 9_000 / 2


def test_a_client_that_leaves_costs_nothing_more(server: Server) -> None:
    before = server.metric("finegate_batch_texts_sum")
    gone = server.metric("finegate_requests_total", protocol="v1", outcome="gone")
    body = json.dumps(HEAVY).encode()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: server.metric("finegate_waiting_texts") > 0, server.log)
    until(lambda: server.metric("finegate_waiting_texts") == 0, server.log)
    assert server.metric("finegate_requests_total", protocol="v1", outcome="gone") == gone + 1
    assert server.metric("finegate_batch_texts_sum") - before < len(HEAVY["instances"]) / 2

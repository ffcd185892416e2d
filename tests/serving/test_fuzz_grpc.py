"""Over gRPC, messages that nobody would write: the client's fault each time, and told so."""

import struct
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from tests.serving.conftest import Server
from tests.serving.junk import SECONDS, TEXT, cases, unhurt


@pytest.fixture(scope="module", autouse=True)
def at_the_end(server: Server) -> Iterator[None]:
    with unhurt(server):
        yield


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

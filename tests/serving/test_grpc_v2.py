"""Over gRPC, where the stock runtime answers INTERNAL to every text."""

import struct
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from serving.classifier import Classifier
from tests.serving.conftest import Server

TEXTS = ["the room was clean", "awful noisy hotel", "好", "", "a park " * 40, "\U0001f600 𠮷"]
Tensor = pb.ModelInferRequest.InferInputTensor


def packed(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)


def contents(texts: list[str], name: str = "text") -> Any:
    data = pb.InferTensorContents(bytes_contents=[text.encode() for text in texts])
    return Tensor(name=name, datatype="BYTES", shape=[len(texts)], contents=data)


def infer(server: Server, *inputs: Any, **more: Any) -> Any:
    request = pb.ModelInferRequest(**{"model_name": "hotels", "inputs": inputs, **more})
    return server.stub().ModelInfer(request)


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> Any:
    return Classifier.load(tiny_model).classify(TEXTS)


def test_contents_are_answered_with_contents(server: Server, expected: Any) -> None:
    answer = infer(server, contents(TEXTS), id="42")
    assert (answer.model_version, answer.id) == ("one", "42")
    outputs = {output.name: output for output in answer.outputs}
    found = np.array(outputs["probabilities"].contents.fp32_contents).reshape(-1, 3)
    assert np.allclose(found, expected, atol=1e-5)
    names = [b"praise", b"blame", b"neutral"]
    assert list(outputs["label"].contents.bytes_contents) == [
        names[best] for best in expected.argmax(axis=1)
    ]
    assert outputs["truncated"].contents.bool_contents[4]
    assert answer.parameters["labels"].string_param == '["praise","blame","neutral"]'


def test_the_version_is_told_as_metadata_too(server: Server) -> None:
    request = pb.ModelInferRequest(model_name="hotels", inputs=[contents(["us"])])
    _, call = server.stub().ModelInfer.with_call(request)
    assert ("x-model-version", "one") in call.trailing_metadata()


def test_raw_tensors_are_answered_with_raw_tensors(server: Server, expected: Any) -> None:
    tensor = Tensor(name="text", datatype="BYTES", shape=[len(TEXTS), 1])
    answer = infer(server, tensor, raw_input_contents=[packed(TEXTS)])
    names = [output.name for output in answer.outputs]
    raw = answer.raw_output_contents[names.index("probabilities")]
    assert np.allclose(np.frombuffer(raw, np.float32), expected.ravel(), atol=1e-5)


def test_pairs_and_chosen_outputs(server: Server, tiny_model: Path) -> None:
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="logits")
    answer = infer(server, contents(["us"]), contents(["our"], "text_pair"), outputs=[wanted])
    [output] = answer.outputs
    classifier = Classifier.load(tiny_model)
    logits = classifier.logits(classifier.encoder.encode(["us"], ["our"]))
    assert np.allclose(output.contents.fp32_contents, logits[0], atol=1e-5)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"inputs": []}, "named nothing"),
        ({"inputs": [contents(["a"], "txt")]}, "named 'txt'"),
        ({"inputs": [contents(["a"])] * 3}, "holds 3 inputs; send 2 at most"),
        ({"inputs": [contents([])]}, "0 texts"),
        ({"inputs": [Tensor(name="text", datatype="FP32", shape=[1])]}, "datatype FP32"),
        ({"inputs": [Tensor(name="text", datatype="JUNK", shape=[1])]}, "datatype JUNK"),
        ({"inputs": [Tensor(name="text", datatype="BYTES", shape=[2])]}, "[2] and 0 texts"),
        (
            {"inputs": [contents(["a"])], "raw_input_contents": [packed(["a"])]},
            "contents beside raw_input_contents",
        ),
        (
            {
                "inputs": [Tensor(name="text", datatype="BYTES", shape=[1])],
                "raw_input_contents": [b"\xff\xff\xff\xffa"],
            },
            "ends inside text 0",
        ),
        (
            {
                "inputs": [Tensor(name="text", datatype="BYTES", shape=[1])],
                "raw_input_contents": [b"\x01\x00\x00\x00\xff"],
            },
            "not UTF-8",
        ),
    ],
    ids=str,
)
def test_bad_input_is_invalid_argument_that_says_why(
    server: Server, request_: dict[str, Any], says: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        infer(server, **{"inputs": (), **request_})
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.value.details()


def test_unknown_names_and_versions_are_not_found(server: Server) -> None:
    for named in ({"model_name": "other"}, {"model_name": "hotels", "model_version": "9"}):
        with pytest.raises(grpc.RpcError) as error:
            infer(server, contents(["a"]), **named)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_metadata_and_readiness(server: Server) -> None:
    stub = server.stub()
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="hotels")).ready
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="hotels"))
    assert (list(metadata.versions), metadata.outputs[2].name) == (["one"], "probabilities")
    assert "binary_tensor_data" in stub.ServerMetadata(pb.ServerMetadataRequest()).extensions


def test_nobody_can_unload_the_model(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as error:
        server.stub().RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="hotels"))
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED

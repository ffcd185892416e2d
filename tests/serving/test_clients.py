"""Clients that nobody here wrote: Triton's over HTTP and gRPC, and KServe's own of each kind."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from serving.classifier import Classifier, Floats
from tests.serving import triton_client
from tests.serving.conftest import Server

TEXTS = ["the room was clean", "awful noisy hotel", "好", "", "a park " * 40, "\U0001f600 𠮷 \x00"]
LABELS = ["praise", "blame", "neutral"]


@pytest.fixture(scope="module")
def classifier(tiny_model: Path) -> Classifier:
    return Classifier.load(tiny_model)


@pytest.fixture(scope="module")
def expected(classifier: Classifier) -> Floats:
    return classifier.classify(TEXTS)


@pytest.fixture(scope="module", params=["http", "grpc"])
def triton(request: pytest.FixtureRequest, server: Server) -> dict[str, Any]:
    """What Triton's client understood of every answer."""
    port = server.port if request.param == "http" else server.grpc_port
    command = [sys.executable, triton_client.__file__, request.param, f"127.0.0.1:{port}"]
    asked = json.dumps(TEXTS)
    ended = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_triton_finds_server_model_and_version_live_and_ready(triton: dict[str, Any]) -> None:
    assert [triton[each] for each in ("live", "ready", "model ready", "version ready")] == [
        True
    ] * 4


def test_triton_reads_the_metadata(triton: dict[str, Any]) -> None:
    metadata = triton["metadata"]
    assert (metadata["name"], metadata["versions"]) == ("hotels", ["one"])
    assert [each["name"] for each in metadata["inputs"]] == ["text", "text_pair"]
    assert {each["datatype"] for each in metadata["inputs"]} == {"BYTES"}
    outputs = {each["name"]: each for each in metadata["outputs"]}
    assert [int(size) for size in outputs["probabilities"]["shape"]] == [-1, 3]
    assert "binary_tensor_data" in triton["server metadata"]["extensions"]


def test_triton_gets_names_and_probabilities_in_every_form(
    triton: dict[str, Any], expected: Floats
) -> None:
    for answer in triton["texts"]:
        about = [answer[each] for each in ("model_name", "model_version", "id", "labels")]
        assert about == ["hotels", "one", "42", LABELS]
        outputs = answer["outputs"]
        assert np.allclose(outputs["probabilities"], expected, atol=1e-5)
        assert np.allclose(outputs["score"], expected.max(axis=1), atol=1e-5)
        assert outputs["label"] == [LABELS[best] for best in expected.argmax(axis=1)]


def test_triton_gets_what_it_asked_for(triton: dict[str, Any], classifier: Classifier) -> None:
    assert triton["version"]["model_version"] == "one"
    pairs = classifier.classify(TEXTS[:2], TEXTS[1:3])
    assert list(triton["pairs"]["outputs"]) == ["probabilities"]
    assert np.allclose(triton["pairs"]["outputs"]["probabilities"], pairs, atol=1e-5)
    logits = classifier.logits(classifier.encoder.encode(TEXTS[:1]))
    for form in ("logits", "raw_logits"):
        assert np.allclose(triton[form]["outputs"]["logits"], logits, atol=1e-5)
    assert len(triton["compressed"]["outputs"]["label"]) == 50 * len(TEXTS)


def test_triton_gets_the_best_labels_first(triton: dict[str, Any], expected: Floats) -> None:
    order = np.argsort(-expected, axis=1)[:, :2]
    outputs = triton["top_k"]["outputs"]
    assert outputs["top_labels"] == [[LABELS[each] for each in row] for row in order]
    assert np.allclose(outputs["top_scores"], np.take_along_axis(expected, order, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "statuses", "says"),
    [
        ("model", ("404", "NOT_FOUND"), "other"),
        ("version", ("404", "NOT_FOUND"), "9"),
        ("metadata", ("404", "NOT_FOUND"), "9"),
        ("input", ("400", "INVALID_ARGUMENT"), "named 'txt'"),
        ("none", ("400", "INVALID_ARGUMENT"), "0 texts"),
        ("output", ("400", "INVALID_ARGUMENT"), "the output 'nope'"),
        ("top_k", ("400", "INVALID_ARGUMENT"), "top_k is 0"),
        ("pairs", ("400", "INVALID_ARGUMENT"), "give as many of each"),
        ("unload", ("404", "UNIMPLEMENTED"), ""),
    ],
)
def test_triton_is_told_what_was_wrong(
    triton: dict[str, Any], asked: str, statuses: tuple[str, str], says: str
) -> None:
    status, message = triton["errors"][asked]
    assert status.removeprefix("StatusCode.") in statuses
    assert says in message


Asked = Callable[[InferRequest], Awaitable[Any]]


def kserve_request(binary: bool, **more: Any) -> InferRequest:
    tensor = InferInput("text", [len(TEXTS)], "BYTES")
    data = np.array([text.encode() for text in TEXTS], dtype=object)
    tensor.set_data_from_numpy(data, binary_data=binary)
    return InferRequest("hotels", [tensor], request_id="42", model_version="", **more)


def check_kserve_answer(answer: Any, expected: Floats) -> None:
    assert answer.id == "42"
    probabilities = answer.get_output_by_name("probabilities").as_numpy()
    assert np.allclose(probabilities.reshape(-1, 3), expected, atol=1e-5)
    labels = answer.get_output_by_name("label").as_numpy()
    found = [each.decode() if isinstance(each, bytes) else each for each in labels]
    assert found == [LABELS[best] for best in expected.argmax(axis=1)]


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_kserves_rest_client_finds_server_and_model_live_and_ready(
    server: Server, protocol: str
) -> None:
    async def ask() -> list[bool]:
        client, url = InferenceRESTClient(RESTConfig(protocol=protocol)), server.url("")
        answers = [await client.is_server_live(url), await client.is_model_ready(url, "hotels")]
        if protocol == "v2":
            answers.append(await client.is_server_ready(url))
        return answers

    assert set(asyncio.run(ask())) == {True}


def test_kserves_rest_client_is_answered_on_v1(server: Server, expected: Floats) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    asked = {"instances": TEXTS, "parameters": {"top_k": 1}}
    answer = asyncio.run(client.infer(server.url(""), asked, model_name="hotels"))
    found = [each["label"] for each in answer["predictions"]]
    assert found == [LABELS[best] for best in expected.argmax(axis=1)]


@pytest.mark.parametrize("binary", [False, True])
def test_kserves_rest_client_is_answered_on_v2(
    server: Server, expected: Floats, binary: bool
) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    asked = kserve_request(binary, parameters={"binary_data_output": binary})
    answer = asyncio.run(client.infer(server.url(""), asked, model_name="hotels"))
    check_kserve_answer(answer, expected)


def test_kserves_rest_client_gets_the_outputs_it_asked_for(
    server: Server, expected: Floats
) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    outputs = [RequestedOutput("score", {"binary_data": True}), RequestedOutput("label")]
    asked = kserve_request(True, request_outputs=outputs)
    answer = asyncio.run(client.infer(server.url(""), asked, model_name="hotels"))
    assert [each.name for each in answer.outputs] == ["score", "label"]
    assert np.allclose(answer.outputs[0].as_numpy(), expected.max(axis=1), atol=1e-5)


def test_kserves_rest_client_raises_what_was_wrong(server: Server) -> None:
    bad = InferRequest("hotels", [InferInput("txt", [1], "BYTES", ["us"])])
    for model, status in (("hotels", 400), ("other", 404)):
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        with pytest.raises(httpx.HTTPStatusError) as error:
            asyncio.run(client.infer(server.url(""), bad, model_name=model))
        assert error.value.response.status_code == status


@pytest.mark.parametrize("binary", [False, True])
def test_kserves_grpc_client_is_answered(server: Server, expected: Floats, binary: bool) -> None:
    async def ask() -> tuple[list[bool], Any]:
        async with InferenceGRPCClient(f"127.0.0.1:{server.grpc_port}") as client:
            found = [
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready("hotels"),
            ]
            return found, await client.infer(kserve_request(binary))

    found, answer = asyncio.run(ask())
    assert found == [True] * 3
    check_kserve_answer(answer, expected)
    assert answer.model_version == "one"


def test_kserves_grpc_client_raises_what_was_wrong(server: Server) -> None:
    async def ask() -> None:
        async with InferenceGRPCClient(f"127.0.0.1:{server.grpc_port}") as client:
            await client.infer(InferRequest("hotels", [InferInput("txt", [1], "BYTES", [b"us"])]))

    with pytest.raises(grpc.RpcError) as error:
        asyncio.run(ask())
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "named 'txt'" in error.value.details()

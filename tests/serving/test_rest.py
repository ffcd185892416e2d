"""Over HTTP, each wrong of the stock runtime (FACTS.md) and its right."""

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from transformers import pipeline

from serving.rest import MAX_BODY_BYTES
from tests.serving.conftest import INFER, PREDICT, Server

TEXTS = ["the room was clean", "awful noisy hotel", "好", "", "a park " * 40, "\U0001f600 𠮷 \x00"]


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> list[dict[str, float]]:
    """Probabilities by label name, from transformers itself."""
    theirs = pipeline("text-classification", model=str(tiny_model), top_k=None, truncation=True)
    return [{each["label"]: each["score"] for each in row} for row in theirs(TEXTS)]


def v2(data: list[Any], **more: Any) -> dict[str, Any]:
    tensor = {"name": "text", "shape": [len(data)], "datatype": "BYTES", "data": data}
    return {"inputs": [{**tensor, **more}]}


def test_v1_answers_names_and_the_probabilities_of_the_transformers_pipeline(
    server: Server, expected: list[dict[str, float]]
) -> None:
    answer = server.post({"instances": TEXTS})
    assert (answer.status_code, answer.headers["x-model-version"]) == (200, "one")
    body = answer.json()
    assert (body["model_name"], body["model_version"]) == ("hotels", "one")
    for prediction, scores in zip(body["predictions"], expected, strict=True):
        found = {each["label"]: each["score"] for each in prediction["scores"]}
        assert found == pytest.approx(scores, abs=1e-5)
        assert prediction["label"] == max(scores, key=scores.__getitem__)
        assert sum(found.values()) == pytest.approx(1, abs=1e-6)
    assert [each["truncated"] for each in body["predictions"]] == [0, 0, 0, 0, 1, 0]


def test_v1_takes_pairs_top_k_and_raw_logits(server: Server) -> None:
    pair = {"text": "the room", "text_pair": "was clean"}
    asked = {"instances": [pair], "parameters": {"top_k": 2, "raw_logits": True}}
    [prediction] = server.post(asked).json()["predictions"]
    assert len(prediction["scores"]) == len(prediction["logits"]) == 2
    [alone] = server.post({"instances": ["the room"]}).json()["predictions"]
    assert alone["score"] != prediction["score"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "text/plain", "application/cloudevents+json"],
)
def test_any_content_type_is_read_as_json(server: Server, content_type: str) -> None:
    assert server.post({"instances": ["us"]}, PREDICT, content_type).status_code == 200
    assert server.post(v2(["us"]), INFER, content_type).status_code == 200


def test_a_text_gets_the_same_answer_in_any_company(server: Server) -> None:
    together = server.post({"instances": TEXTS}).json()["predictions"]
    for text, prediction in zip(TEXTS, together, strict=True):
        [alone] = server.post({"instances": [text]}).json()["predictions"]
        assert alone["score"] == pytest.approx(prediction["score"], abs=1e-6)


def test_v2_json_answers_numbers_in_label_order(
    server: Server, expected: list[dict[str, float]]
) -> None:
    answer = server.post({**v2(TEXTS), "id": "42"}, INFER)
    body = answer.json()
    assert answer.headers["x-model-version"] == body["model_version"] == "one"
    assert body["id"] == "42"
    labels = json.loads(body["parameters"]["labels"])
    outputs = {each["name"]: each for each in body["outputs"]}
    assert list(outputs) == ["label", "score", "probabilities", "truncated"]
    assert outputs["probabilities"]["shape"] == [len(TEXTS), 3]
    found = np.array(outputs["probabilities"]["data"]).reshape(-1, 3)
    for row, scores in zip(found, expected, strict=True):
        assert dict(zip(labels, row, strict=True)) == pytest.approx(scores, abs=1e-5)
    assert outputs["label"]["data"] == [max(row, key=row.__getitem__) for row in expected]
    assert outputs["truncated"]["data"] == [False, False, False, False, True, False]


def test_v2_binary_tensors_are_taken_and_given(server: Server) -> None:
    packed = b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in TEXTS)
    given = v2(TEXTS, parameters={"binary_data_size": len(packed)})
    del given["inputs"][0]["data"]
    given["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps(given).encode()
    length = {"inference-header-content-length": str(len(head))}
    answer = server.post(head + packed, INFER, "application/octet-stream", **length)
    assert answer.status_code == 200, answer.text
    split = int(answer.headers["inference-header-content-length"])
    [output] = json.loads(answer.content[:split])["outputs"]
    found = np.frombuffer(answer.content[split:], np.float32).reshape(output["shape"])
    body = server.post(v2(TEXTS), INFER).json()
    plain = next(each for each in body["outputs"] if each["name"] == "probabilities")
    assert np.allclose(found.ravel(), plain["data"], atol=1e-6)


async def ask_with_kserve(server: Server) -> Any:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    request = InferRequest("hotels", [InferInput("text", [2], "BYTES", ["the room", "us"])])
    return await client.infer(f"http://127.0.0.1:{server.port}", request, model_name="hotels")


def test_kserves_own_client_is_answered(server: Server) -> None:
    response = asyncio.run(ask_with_kserve(server))
    assert response.get_output_by_name("probabilities").shape == [2, 3]
    assert response.get_output_by_name("label").data[0] in ("praise", "blame", "neutral")


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


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/hotels/versions/9/infer", 404),
        ("GET", "/v2/models/hotels/versions/9/ready", 404),
        ("POST", "/v2/models/hotels/versions/one/infer", 200),
        ("GET", "/v2/models/hotels/versions/one/ready", 200),
        ("POST", "/v1/models/hotels:explain", 405),
        ("POST", "/v2/repository/models/hotels/unload", 404),
        ("POST", "/v2/repository/models/hotels/load", 404),
        ("GET", "/", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v1/models/hotels", 200),
    ],
)
def test_routes_that_are_not_offered_are_a_4xx(
    server: Server, method: str, path: str, status: int
) -> None:
    body = json.dumps(v2(["us"])).encode() if method == "POST" else None
    assert httpx.request(method, server.url(path), content=body).status_code == status


def test_metadata_tells_inputs_outputs_labels_and_version(server: Server) -> None:
    metadata = server.get("/v2/models/hotels").json()
    assert metadata["versions"] == ["one"]
    assert [each["name"] for each in metadata["inputs"]] == ["text", "text_pair"]
    assert metadata["outputs"][2] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
    assert metadata["parameters"] == {
        "labels": ["praise", "blame", "neutral"],
        "problem_type": "single_label_classification",
        "max_length": 24,
        "long_texts": "truncate",
    }
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data"]


def test_no_text_is_logged(server: Server) -> None:
    secret = "a-very-private-review"
    for body in (
        {"instances": [secret]},
        {"instances": [secret, None]},
        {"instances": {"text": secret}},
        {"instances": [{"text": secret, secret: 1}]},
    ):
        server.post(body)
        server.post(body, INFER)
    assert secret not in server.log.read_text()


def test_metrics_count_answers_labels_truncations_and_rejections(server: Server) -> None:
    def counts() -> list[float]:
        return [
            server.metric("finegate_requests_total", protocol="v1", outcome="answered"),
            server.metric("finegate_requests_total", protocol="v1", outcome="invalid"),
            server.metric("finegate_request_seconds_count", protocol="v1"),
            server.metric("finegate_queue_seconds_count"),
            server.metric("finegate_batch_texts_sum"),
            server.metric("finegate_truncated_texts_total", version="one"),
            server.metric("finegate_predicted_labels_total", version="one"),
            server.metric("finegate_confidence_count", version="one"),
        ]

    before = counts()
    server.post({"instances": TEXTS})
    server.post({"instances": []})
    added = [after - earlier for after, earlier in zip(counts(), before, strict=True)]
    assert added == [1, 1, 1, 1, len(TEXTS), 1, len(TEXTS), len(TEXTS)]
    assert server.metric("finegate_model_info", version="one", backend="pytorch") == 1
    assert server.metric("finegate_waiting_texts") == 0


def test_the_process_imports_no_training_or_pipeline_library(server: Server) -> None:
    server.post({"instances": ["us"]})
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("import time")]
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
    assert "torch" in imported
    assert not imported & {
        "kfp",
        "deepspeed",
        "datasets",
        "sklearn",
        "scipy",
        "accelerate",
        "boto3",
    }

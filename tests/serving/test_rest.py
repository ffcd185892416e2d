"""Over HTTP, what good requests are answered with."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from tests.serving.conftest import INFER, PREDICT, Server, v2

TEXTS = ["the room was clean", "awful noisy hotel", "好", "", "a park " * 40, "\U0001f600 𠮷 \x00"]


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> list[dict[str, float]]:
    """Probabilities by label name, from transformers itself."""
    theirs = pipeline("text-classification", model=str(tiny_model), top_k=None, truncation=True)
    return [{each["label"]: each["score"] for each in row} for row in theirs(TEXTS)]


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
    assert outputs["probabilities"]["datatype"] == "FP32"
    assert {type(each) for each in outputs["probabilities"]["data"]} == {float}
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

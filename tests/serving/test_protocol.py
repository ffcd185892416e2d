from typing import Any

import numpy as np
import pytest
from kserve import InferInput, InferRequest

from serving.errors import InputError
from serving.protocol import (
    MAX_TEXTS,
    Answer,
    Question,
    question_from_v1,
    question_from_v2,
    v1_answer,
    v2_answer,
)

ANSWER = Answer(
    labels=("bad", "fair", "good"),
    scores=np.array([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2]], dtype=np.float32),
    logits=np.array([[1, 0, 2], [3, 2, 1]], dtype=np.float32),
    truncated=[False, True],
    version="v1",
)


def test_v1_takes_texts_and_pairs() -> None:
    assert question_from_v1({"instances": ["a", ""]}) == Question(["a", ""], None)
    pair = {"text": "a", "text_pair": "b"}
    assert question_from_v1({"instances": [pair]}) == Question(["a"], ["b"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "an object without instances"),
        ([], "a list without instances"),
        (None, "null without instances"),
        ("text", "a text without instances"),
        ({"instances": None}, "instances is null"),
        ({"instances": "a text"}, "instances is a text"),
        ({"instances": []}, f"0 texts; send 1 to {MAX_TEXTS}"),
        ({"instances": ["x"] * (MAX_TEXTS + 1)}, f"send 1 to {MAX_TEXTS}"),
        ({"instances": [1]}, "instances[0] is a int"),
        ({"instances": ["a", None]}, "instances[1] is null"),
        ({"instances": [["a"]]}, "instances[0] is a list"),
        ({"instances": [{"txt": "a"}]}, "has the key 'txt'"),
        ({"instances": [{"text_pair": "a"}]}, "instances[0] is null"),
        ({"instances": ["a", {"text": "a", "text_pair": "b"}]}, "1 of 2 texts have a text_pair"),
        ({"instances": ["\ud800"]}, "lone surrogate"),
        ({"instances": ["a"], "parameters": []}, "parameters is a list"),
        ({"instances": ["a"], "parameters": {"topk": 1}}, "parameters has 'topk'"),
        ({"instances": ["a"], "parameters": {"top_k": 0}}, "top_k is 0"),
        ({"instances": ["a"], "parameters": {"top_k": True}}, "top_k is True"),
        ({"instances": ["a"], "parameters": {"raw_logits": "yes"}}, "raw_logits is 'yes'"),
    ],
)
def test_v1_says_what_was_wrong(body: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        question_from_v1(body)
    assert says in str(error.value)


def test_v1_names_the_best_label_and_all_scores_best_first() -> None:
    body = v1_answer(ANSWER, Question(["a", "b"], None), "m")
    first, second = body["predictions"]
    assert (first["label"], first["truncated"]) == ("good", False)
    assert [each["label"] for each in first["scores"]] == ["good", "bad", "fair"]
    assert first["score"] == pytest.approx(0.7)
    assert (second["label"], second["truncated"]) == ("bad", True)
    assert "logits" not in first
    assert (body["model_name"], body["model_version"]) == ("m", "v1")


def test_v1_cuts_to_top_k_and_gives_logits_when_asked() -> None:
    body = v1_answer(ANSWER, Question(["a", "b"], None, top_k=1, raw_logits=True), "m")
    assert [len(each["scores"]) for each in body["predictions"]] == [1, 1]
    assert body["predictions"][0]["logits"] == [{"label": "good", "logit": 2.0}]


def v2_request(data: list[Any], shape: list[int], datatype: str = "BYTES") -> InferRequest:
    return InferRequest("m", [InferInput("text", shape, datatype, data)], request_id="7")


@pytest.mark.parametrize("data", [["a", "好"], [b"a", "好".encode()]])
@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_v2_takes_text_and_bytes_of_both_shapes(data: list[Any], shape: list[int]) -> None:
    assert question_from_v2(v2_request(data, shape)).texts == ["a", "好"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (v2_request([1.0], [1], "FP32"), "datatype FP32"),
        (v2_request(["a"], [1, 1, 1]), "the shape [1, 1, 1]"),
        (v2_request(["a", "b"], [3]), "cannot be read as [3]"),
        (v2_request([b"\xff"], [1]), "not UTF-8"),
        (v2_request([], [0]), "0 texts"),
        (InferRequest("m", [InferInput("txt", [1], "BYTES", ["a"])]), "named txt"),
    ],
)
def test_v2_says_what_was_wrong(request_: InferRequest, says: str) -> None:
    with pytest.raises(InputError) as error:
        question_from_v2(request_)
    assert says in str(error.value)


def test_v2_answers_labels_scores_and_probabilities_in_label_order() -> None:
    request = v2_request(["a", "b"], [2])
    body, _ = v2_answer(ANSWER, Question(["a", "b"], None), "m", request).to_rest()
    outputs = {each["name"]: each for each in body["outputs"]}
    assert outputs["label"]["data"] == ["good", "bad"]
    assert outputs["probabilities"]["shape"] == [2, 3]
    assert np.allclose(outputs["probabilities"]["data"], ANSWER.scores.ravel())
    assert outputs["truncated"]["data"] == [False, True]
    assert (body["id"], body["model_version"]) == ("7", "v1")

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferInput, InferRequest

from serving.errors import InputError
from serving.protocol import Answer, Question
from serving.protocol_v2 import OUTPUTS, question_from_v2, v2_answer
from serving.wire_v2 import request_from_rest

ANSWER = Answer(
    labels=("bad", "fair", "good"),
    scores=np.array([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2]], dtype=np.float32),
    logits=np.array([[1, 0, 2], [3, 2, 1]], dtype=np.float32),
    truncated=[False, True],
    version="v1",
)


def request(data: list[Any], shape: list[int], **more: Any) -> InferRequest:
    return InferRequest("m", [InferInput("text", shape, "BYTES", data)], request_id="7", **more)


def asked(document: Any, binary: bytes = b"") -> Question:
    head = json.dumps(document).encode()
    length = str(len(head)) if binary else None
    return question_from_v2(request_from_rest(head + binary, length, "m"))


@pytest.mark.parametrize("data", [["a", "好"], [b"a", "好".encode()]])
@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_texts_and_bytes_of_both_shapes_are_taken(data: list[Any], shape: list[int]) -> None:
    assert question_from_v2(request(data, shape)).texts == ["a", "好"]


def test_nested_data_is_taken() -> None:
    tensor = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [["a"], ["b"]]}
    assert asked({"inputs": [tensor]}) == Question(["a", "b"], None)


def test_binary_tensors_follow_each_other() -> None:
    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
        for name in ("text", "text_pair")
    ]
    binary = b"\x01\x00\x00\x00a\x01\x00\x00\x00b"
    assert asked({"inputs": tensors}, binary) == Question(["a"], ["b"])


TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES"}


@pytest.mark.parametrize(
    ("document", "binary", "says"),
    [
        ([], b"", "the body is a list"),
        ({"inputs": ["a"]}, b"", "inputs[0] is a text"),
        ({"inputs": [TENSOR]}, b"", "inputs[0] has no data"),
        ({"inputs": [{**TENSOR, "data": "a"}]}, b"", "inputs[0].data is a text"),
        ({"inputs": [{**TENSOR, "data": ["a"], "name": 1}]}, b"", "inputs[0].name is a number"),
        ({"inputs": [{**TENSOR, "data": ["a"], "shape": [True]}]}, b"", "inputs[0].shape"),
        ({"inputs": [{**TENSOR, "data": ["a"], "shape": None}]}, b"", "inputs[0].shape is null"),
        ({"inputs": [{**TENSOR, "data": ["a"], "parameters": None}]}, b"", None),
        ({"inputs": [{**TENSOR, "data": ["a"], "parameters": [1]}]}, b"", ".parameters is a list"),
        ({"inputs": [{**TENSOR, "data": ["a"]}]}, b"xy", "2 bytes of binary data belong to no"),
        (
            {"inputs": [{**TENSOR, "parameters": {"binary_data_size": 3}}]},
            b"xyz",
            "ends inside text 0",
        ),
        (
            {"inputs": [{**TENSOR, "parameters": {"binary_data_size": 9}}]},
            b"xyz",
            "3 bytes of binary data are left",
        ),
        ({"inputs": [{**TENSOR, "data": ["a"]}], "outputs": [1]}, b"", "outputs[0] is a number"),
        ({"inputs": [{**TENSOR, "data": ["a"]}], "id": 4}, b"", "id is a number"),
        ({"inputs": [1, 1, 1]}, b"", "holds 3 inputs; send 2 at most"),
        ({"inputs": [{**TENSOR, "data": ["a"]}], "outputs": [1] * 8}, b"", "holds 8 outputs"),
        (
            {"inputs": [{**TENSOR, "data": ["a"]}, {**TENSOR, "name": "text_pair", "data": []}]},
            b"",
            "text_pair has the shape [1] and 0 texts",
        ),
    ],
)
def test_what_was_wrong_is_said(document: Any, binary: bytes, says: str | None) -> None:
    if says is None:
        asked(document, binary)
        return
    with pytest.raises(InputError) as error:
        asked(document, binary)
    assert says in str(error.value)


def test_labels_scores_and_probabilities_are_in_label_order() -> None:
    given_ = request(["a", "b"], [2])
    body, _ = v2_answer(ANSWER, Question(["a", "b"], None), "m", given_).to_rest()
    outputs = {each["name"]: each for each in body["outputs"]}
    assert outputs["label"]["data"] == ["good", "bad"]
    assert outputs["probabilities"]["shape"] == [2, 3]
    assert np.allclose(outputs["probabilities"]["data"], ANSWER.scores.ravel())
    assert outputs["truncated"]["data"] == [False, True]
    assert (body["id"], body["model_version"]) == ("7", "v1")
    assert json.loads(body["parameters"]["labels"]) == ["bad", "fair", "good"]


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, OUTPUTS),
        ({"parameters": {"raw_logits": True}}, (*OUTPUTS, "logits")),
        ({"parameters": {"top_k": 2}}, (*OUTPUTS, "top_labels", "top_scores")),
        ({"outputs": [{"name": "logits"}]}, ("logits",)),
        ({"outputs": [{"name": "top_labels"}, {"name": "label"}]}, ("top_labels", "label")),
    ],
)
def test_outputs_come_by_parameter_or_by_name(more: dict[str, Any], names: tuple[str, ...]) -> None:
    body = json.dumps({"inputs": [{**TENSOR, "data": ["a"]}], **more}).encode()
    request = request_from_rest(body, None, "m")
    answered, _ = v2_answer(ANSWER, question_from_v2(request), "m", request).to_rest()
    assert tuple(each["name"] for each in answered["outputs"]) == names


def test_an_output_comes_as_the_request_says_unless_it_is_asked_for_otherwise() -> None:
    outputs = [{"name": "score"}, {"name": "label", "parameters": {"binary_data": False}}]
    document = {
        "inputs": [{**TENSOR, "data": ["a"]}],
        "outputs": outputs,
        "parameters": {"binary_data_output": True},
    }
    request = request_from_rest(json.dumps(document).encode(), None, "m")
    content, length = v2_answer(ANSWER, question_from_v2(request), "m", request).to_rest()
    score, label = json.loads(content[:length])["outputs"]
    assert (score["parameters"], "data" in score) == ({"binary_data_size": 8}, False)
    assert np.allclose(np.frombuffer(content[length:], np.float32), [0.7, 0.5])
    assert (label["data"], "parameters" in label) == (["good", "bad"], False)


def test_the_best_labels_come_best_first() -> None:
    question = Question(["a", "b"], None, top_k=2)
    body, _ = v2_answer(ANSWER, question, "m", request(["a", "b"], [2])).to_rest()
    outputs = {each["name"]: each for each in body["outputs"]}
    assert (outputs["top_labels"]["shape"], outputs["top_scores"]["shape"]) == ([2, 2], [2, 2])
    assert outputs["top_labels"]["data"] == ["good", "bad", "bad", "fair"]
    assert np.allclose(outputs["top_scores"]["data"], [0.7, 0.2, 0.5, 0.3])


KEYS = st.sampled_from(
    ["name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "id"]
)
LEAVES = st.none() | st.integers() | st.text(max_size=3) | st.sampled_from(["text", "BYTES", 1, -1])
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)


@given(
    JSON
    | JSON.map(lambda v: {"inputs": v})
    | JSON.map(lambda v: {"inputs": [{**TENSOR, "data": v}]}),
    st.binary(max_size=12),
    st.none() | st.integers(-1, 60).map(str),
)
def test_a_body_is_understood_or_refused_with_an_input_error(
    document: Any, binary: bytes, length: str | None
) -> None:
    body = json.dumps(document).encode() + binary
    with contextlib.suppress(InputError):
        question = question_from_v2(request_from_rest(body, length, "m"))
        assert all(isinstance(text, str) for text in question.texts)

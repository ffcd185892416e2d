import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InputError
from serving.protocol import (
    MAX_TEXTS,
    Answer,
    Question,
    question_from_v1,
    v1_answer,
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
        ({"instances": [1]}, "instances[0] is a number"),
        ({"instances": ["a", None]}, "instances[1] is null"),
        ({"instances": [["a"]]}, "instances[0] is a list"),
        ({"instances": [{"txt": "a"}]}, "has the keys 'txt'"),
        ({"instances": [{"text_pair": "a"}]}, "the keys 'text_pair'"),
        ({"instances": [{}]}, "has no key"),
        ({"instances": [{"text": None}]}, "instances[0] is null"),
        ({"instances": [True]}, "instances[0] is a boolean"),
        (
            {"instances": ["a", {"text": "a", "text_pair": "b"}]},
            "1 of 2 instances have a text_pair",
        ),
        ({"instances": ["\ud800"]}, "lone surrogate"),
        ({"instances": ["a"], "parameters": []}, "parameters is a list"),
        ({"instances": ["a"], "parameters": {"topk": 1}}, "parameters has the keys 'topk'"),
        ({"instances": ["a"], "parameters": {"top_k": 0}}, "top_k is 0"),
        ({"instances": ["a"], "parameters": {"top_k": True}}, "top_k is a boolean"),
        ({"instances": ["a"], "parameters": {"raw_logits": "yes"}}, "raw_logits is a text"),
    ],
)
def test_v1_says_what_was_wrong(body: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        question_from_v1(body)
    assert says in str(error.value)


def test_a_number_without_a_fraction_is_an_integer_however_it_is_written() -> None:
    asked = {"instances": ["a"], "parameters": {"top_k": 2.0}}
    assert question_from_v1(asked).top_k == 2
    with pytest.raises(InputError, match=r"top_k is 2\.5"):
        question_from_v1({**asked, "parameters": {"top_k": 2.5}})


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["instances", "parameters", "text", "text_pair", "top_k", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(JSON | JSON.map(lambda value: {"instances": value}) | st.binary(max_size=40))
def test_v1_understands_a_body_or_refuses_it_with_an_input_error(body: Any) -> None:
    with contextlib.suppress(InputError):
        assert all(isinstance(text, str) for text in question_from_v1(body).texts)

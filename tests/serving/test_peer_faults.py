"""Faults of KServe's huggingfaceserver that show on other models than the suite's own.

serving/README.md lists all of them, each with the test that shows ours right.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    pipeline,
)

from serving.predictor import Predictor

TEXTS = ["Good", "good", "the room was clean", "awful noisy hotel", "a park " * 40]
WORDS = ["the", "room", "was", "clean", "awful", "noisy", "hotel", "a", "park"]
PADDING_SECOND = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]  # as RoBERTa has it


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Saves a small classifier of three labels with a cased tokenizer; keywords change both."""

    def saving(model_type: str = "bert", dtype: torch.dtype = torch.float32, **more: Any) -> Path:
        vocabulary = [*PADDING_SECOND, "Good", "good", *WORDS]
        (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
        tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False)
        tokenizer.model_max_length = more.get("max_position_embeddings", 64)
        tokenizer.save_pretrained(tmp_path)
        config = AutoConfig.for_model(
            model_type,
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            pad_token_id=1,
            initializer_range=0.2,
            id2label={0: "praise", 1: "blame", 2: "neutral"},
            **{"max_position_embeddings": 64, "type_vocab_size": 2, **more},
        )
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config)
        model.to(dtype).save_pretrained(tmp_path)
        return tmp_path

    return saving


def answers(folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    """The predictor's V1 answers, as JSON carries them."""
    predictor = Predictor("hotels", folder, 1000)
    try:
        body, _ = asyncio.run(predictor(json.dumps({"instances": texts}).encode()))
    finally:
        predictor.loaded.batcher.close()
    found: list[dict[str, Any]] = json.loads(json.dumps(body))["predictions"]
    return found


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {each["label"]: each["score"] for each in answer["scores"]}


def theirs(folder: Path, texts: list[str]) -> list[dict[str, float]]:
    """What transformers' own pipeline answers, in fp32."""
    asked = pipeline(
        "text-classification", str(folder), dtype=torch.float32, top_k=None, truncation=True
    )
    return [{each["label"]: each["score"] for each in row} for row in asked(texts)]


def test_a_cased_model_tells_capitals_apart(save: Callable[..., Path]) -> None:
    folder = save()
    upper, lower = answers(folder, ["Good", "good"])
    assert scores(upper) != pytest.approx(scores(lower), abs=1e-3)
    assert scores(upper) == pytest.approx(theirs(folder, ["Good"])[0], abs=1e-5)


def test_multi_label_probabilities_are_sigmoids(save: Callable[..., Path]) -> None:
    folder = save(problem_type="multi_label_classification")
    found = answers(folder, TEXTS)
    for answer, expected in zip(found, theirs(folder, TEXTS), strict=True):
        assert scores(answer) == pytest.approx(expected, abs=1e-5)
    assert any(abs(sum(scores(answer).values()) - 1) > 0.1 for answer in found)


def test_probabilities_of_a_model_saved_in_bf16_sum_to_one(save: Callable[..., Path]) -> None:
    folder = save(dtype=torch.bfloat16)
    found = answers(folder, TEXTS)
    for answer, expected in zip(found, theirs(folder, TEXTS), strict=True):
        assert sum(scores(answer).values()) == pytest.approx(1, abs=1e-6)
        assert scores(answer) == pytest.approx(expected, abs=1e-5)


def test_a_roberta_model_of_514_positions_answers_the_longest_texts(
    save: Callable[..., Path],
) -> None:
    folder = save("roberta", max_position_embeddings=514)
    texts = ["park " * count for count in (509, 510, 511, 512, 513, 2000)]
    found = answers(folder, texts)
    assert [each["truncated"] for each in found] == [False, False, True, True, True, True]
    tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=512)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for text, answer in zip(texts, found, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
        expected = torch.softmax(logits[0], -1).tolist()
        assert [scores(answer)[each] for each in ("praise", "blame", "neutral")] == pytest.approx(
            expected, abs=1e-5
        )


def test_the_end_of_a_text_counts_however_many_characters_precede_it(
    save: Callable[..., Path],
) -> None:
    folder = save()
    long = ("x" * 5000 + " ") * 10  # ten unknown words of 5,000 characters: ten tokens
    texts = [long + "clean", long + "awful"]
    clean, awful = answers(folder, texts)
    assert not clean["truncated"]
    assert scores(clean) != pytest.approx(scores(awful), abs=1e-3)
    for answer, expected in zip((clean, awful), theirs(folder, texts), strict=True):
        assert scores(answer) == pytest.approx(expected, abs=1e-5)


def test_scores_are_numbers_and_labels_are_names(save: Callable[..., Path]) -> None:
    [answer] = answers(save(), ["good"])
    assert sorted(scores(answer)) == ["blame", "neutral", "praise"]
    assert np.isfinite(list(scores(answer).values())).all()

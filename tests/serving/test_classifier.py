import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from serving.backends.base import Inputs
from serving.classifier import Classifier, Floats, batches
from serving.errors import InputError
from serving.passes import Passes
from tests.conftest import hotel_rows

TEXTS = [text for text, _ in hotel_rows(200)] + ["", "好", "房间很干净 " * 40, "\U0001f600 𠮷"]


@pytest.fixture
def copied(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_probabilities_equal_those_of_the_transformers_pipeline(tiny_model: Path) -> None:
    classifier = Classifier.load(tiny_model)
    theirs = pipeline("text-classification", model=str(tiny_model), top_k=None, truncation=True)
    expected = [{each["label"]: each["score"] for each in row} for row in theirs(TEXTS)]
    ours = classifier.classify(TEXTS)
    for row, scores in zip(ours, expected, strict=True):
        assert np.allclose(row, [scores[label] for label in classifier.labels], atol=1e-5)


def test_the_same_text_has_the_same_probabilities_in_any_batch(tiny_model: Path) -> None:
    classifier = Classifier.load(tiny_model)
    together = classifier.classify(TEXTS)
    alone = np.concatenate([classifier.classify([text]) for text in TEXTS])
    backwards = classifier.classify(TEXTS[::-1])[::-1]
    assert np.abs(together - alone).max() < 1e-6
    assert np.abs(together - backwards).max() < 1e-6


def test_warming_up_runs_a_pass_of_each_padded_length(tiny_model: Path) -> None:
    classifier = Classifier.load(tiny_model)
    backend = classifier.backend
    backend.records, backend.pad_to_multiple_of = True, 7
    seen = []

    def recorded(inputs: Inputs, lane: int | None = None) -> Floats:
        seen.append(inputs["input_ids"].shape)
        return np.zeros((len(inputs["input_ids"]), len(classifier.labels)), np.float32)

    backend.logits = recorded  # type: ignore[method-assign]  # no GPU records here
    classifier.warm_up()
    assert sorted(seen) == [(1, 7), (1, 14), (1, 21), (1, 24)]
    lengths = {classifier.padded(row) for row in classifier.encoder.encode(TEXTS)}
    assert lengths <= {7, 14, 21, 24}


def test_warming_up_runs_a_pass_in_each_lane(tiny_model: Path) -> None:
    classifier = Classifier.load(tiny_model)
    classifier.backend.lanes = 2
    seen = []

    def ran(inputs: Inputs, lane: int | None = None) -> Floats:
        seen.append(lane)
        return np.zeros((len(inputs["input_ids"]), len(classifier.labels)), np.float32)

    classifier.backend.logits = ran  # type: ignore[method-assign]  # of PyTorch, which has one lane
    classifier.warm_up()
    assert seen == [None, None, 0, 1]


def test_softmax_is_applied_once_and_sums_to_one(tiny_model: Path) -> None:
    classifier = Classifier.load(tiny_model)
    logits = classifier.logits(classifier.encoder.encode(TEXTS))
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    assert np.allclose(classifier.probabilities(logits), expected, atol=1e-6)


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_the_problem_type_of_the_model_chooses_the_function(
    copied: Path, problem_type: str
) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "problem_type": problem_type}))
    theirs = pipeline("text-classification", model=str(copied), top_k=None, truncation=True)
    expected = [{each["label"]: each["score"] for each in row} for row in theirs(TEXTS[:20])]
    classifier = Classifier.load(copied)
    for row, scores in zip(classifier.classify(TEXTS[:20]), expected, strict=True):
        assert np.allclose(row, [scores[label] for label in classifier.labels], atol=1e-5)


@pytest.mark.parametrize("problem_type", [None, "regression"])
def test_a_model_with_one_output_answers_as_the_pipeline_does(
    tiny_model: Path, tmp_path: Path, problem_type: str | None
) -> None:
    config = AutoConfig.from_pretrained(tiny_model, num_labels=1, problem_type=problem_type)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    theirs = pipeline("text-classification", model=str(tmp_path), top_k=None, truncation=True)
    expected = [[row[0]["score"]] for row in theirs(TEXTS[:9])]
    assert np.allclose(Classifier.load(tmp_path).classify(TEXTS[:9]), expected, atol=1e-5)


def test_a_model_saved_without_its_head_is_refused(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    body = {name: tensor for name, tensor in tensors.items() if "classifier" not in name}
    save_file(body, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="would be random"):
        Classifier.load(copied)


def test_pytorch_takes_no_more_threads_than_there_are_cores_unless_told(tiny_model: Path) -> None:
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        os.sched_setaffinity(0, {min(cores)})
        Classifier.load(tiny_model)
        assert torch.get_num_threads() == 1
        Classifier.load(tiny_model, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


def test_labels_with_the_same_name_are_refused(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["id2label"] = {"0": "same", "1": "same", "2": "other"}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="names must differ"):
        Classifier.load(copied)


def test_an_empty_folder_is_refused_as_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a Hugging Face model folder"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize("packs", [True, False])
def test_batches_hold_every_row_once_and_stay_within_the_token_budget(packs: bool) -> None:
    lengths = [5, 60, 7, 7, 64, 1, 30, 300, 9, 2, 3, 11, 11, 12]
    sizes = [(-(-length // 16) * 16, length) for length in lengths]
    found = list(batches(sizes, Passes(128, packs)))
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    assert len(found) == (4 if packs else 5)
    for batch in found:
        padded = [sizes[row][0] for row in batch]
        assert sum(lengths[row] for row in batch) <= 128 or len(batch) == 1
        assert len(batch) * max(padded) <= (256 if packs else 128) or len(batch) == 1
        assert packs or len(set(padded)) == 1

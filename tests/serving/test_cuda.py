"""A GPU's answers: those of a CPU in fp32, and the same bits whatever shares a text's batch."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from components.export_model.choice import choose
from components.export_model.settings import ExportSettings
from serving.backends.cuda import TOKENS
from serving.backends.pytorch import PyTorchBackend
from serving.classifier import Classifier
from serving.settings import SERVING
from tests.conftest import FILLER, WORDS, hotel_rows
from tests.serving.conftest import Server

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")

LENGTH = 128
BERT = {"model_type": "bert", "num_attention_heads": 12}
MODELS: dict[str, dict[str, Any]] = {
    "bert 6x384": {
        **BERT, "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536,
    },
    "bert 3x768": {
        **BERT, "hidden_size": 768, "num_hidden_layers": 3, "intermediate_size": 3072,
    },
    "roberta": {
        "model_type": "roberta", "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 514,
    },
    "llama": {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
    },
}  # fmt: skip
BACKENDS = ("pytorch-cuda", "pytorch-cuda-bf16")


def texts(count: int, seed: int = 0) -> list[str]:
    """Texts of all lengths that the models take, and of some more."""
    chance = random.Random(seed)
    words = [*FILLER, *(word for group in WORDS.values() for word in group)]
    return [" ".join(chance.choices(words, k=chance.randint(1, LENGTH + 20))) for _ in range(count)]


TEXTS = texts(300)

Load = Callable[[str, str], Classifier]


@pytest.fixture(scope="module")
def folder(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """The folder of a model with random weights, to be served by a backend."""
    home = tmp_path_factory.mktemp("models")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.model_max_length = LENGTH

    def written(name: str, backend: str) -> Path:
        folder = home / name / backend
        if folder.is_dir():
            return folder
        config = AutoConfig.for_model(
            **MODELS[name],
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            id2label=dict(enumerate(WORDS)),
            label2id={label: index for index, label in enumerate(WORDS)},
        )
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / SERVING).write_text(json.dumps({"backend": backend}))
        return folder

    return written


@pytest.fixture(scope="module")
def load(folder: Callable[[str, str], Path]) -> Load:
    """The classifier of a model behind a backend."""
    loaded: dict[tuple[str, str], Classifier] = {}

    def loading(name: str, backend: str) -> Classifier:
        key = name, backend
        if key not in loaded:
            loaded[key] = Classifier.load(folder(name, backend))
        return loaded[key]

    return loading


@pytest.mark.parametrize("name", MODELS)
def test_fp32_on_a_gpu_answers_what_a_cpu_answers(name: str, load: Load) -> None:
    ours = load(name, "pytorch-cuda").classify(TEXTS)
    assert np.abs(ours - load(name, "pytorch").classify(TEXTS)).max() < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_bf16_answers_about_that_and_its_probabilities_sum_to_one(name: str, load: Load) -> None:
    ours = load(name, "pytorch-cuda-bf16").classify(TEXTS)
    difference = np.abs(ours - load(name, "pytorch").classify(TEXTS)).max()
    assert 1e-5 < difference < 0.02
    assert np.abs(ours.sum(axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_text_has_the_same_bits_in_any_batch(name: str, backend: str, load: Load) -> None:
    classifier = load(name, backend)
    together = classifier.classify(TEXTS)
    assert len(np.unique(together, axis=0)) > 20
    alone = np.concatenate([classifier.classify([text]) for text in TEXTS])
    assert np.array_equal(together, alone)
    chance = np.random.default_rng(0)
    for _ in range(50):
        some = chance.choice(len(TEXTS), chance.integers(1, len(TEXTS)))  # some of them repeated
        assert np.array_equal(classifier.classify([TEXTS[i] for i in some]), together[some])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_text_has_the_same_bits_in_any_row_of_a_pass(name: str, backend: str, load: Load) -> None:
    classifier = load(name, backend)
    [row, *others] = classifier.encoder.encode(
        [TEXTS[0], *(text for text in TEXTS if len(text) > 40)]
    )
    length = classifier.padded(row)
    others = [each for each in others if classifier.padded(each) == length]
    rows = TOKENS // length
    expected = classifier.logits([row])[0]
    for place in range(rows):
        batch = [others[(place + index) % len(others)] for index in range(rows)]
        batch[place] = row
        assert np.array_equal(classifier.logits(batch)[place], expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_and_two_releases_at_once_get_the_same_bits(
    backend: str, folder: Callable[[str, str], Path], load: Load
) -> None:
    """As while a release is loaded beside the one that answers: one records, the other replays."""
    name = "bert 6x384"
    old = load(name, backend)
    expected = old.classify(TEXTS)

    def differing(classifier: Classifier, seed: int) -> int:
        chance = np.random.default_rng(seed)
        batches = [chance.choice(len(TEXTS), chance.integers(1, 64)) for _ in range(20)]
        answers = [classifier.classify([TEXTS[i] for i in some]) for some in batches]
        pairs = zip(answers, batches, strict=True)
        return sum(not np.array_equal(scores, expected[some]) for scores, some in pairs)

    def reloading() -> int:
        return sum(differing(Classifier.load(folder(name, backend)), seed) for seed in range(4))

    with ThreadPoolExecutor(8) as pool:
        reloaded = pool.submit(reloading)
        assert sum(pool.map(partial(differing, old), range(16))) == 0
        assert reloaded.result() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_that_waits_for_its_values_runs_as_it_is_with_the_same_bits(
    backend: str, folder: Callable[[str, str], Path], load: Load
) -> None:
    recorded = load("bert 6x384", backend).classify(TEXTS)
    classifier = Classifier.load(folder("bert 6x384", backend))
    assert isinstance(classifier.backend, PyTorchBackend)
    model = classifier.backend.model
    forward = model.forward

    def waiting(**inputs: torch.Tensor) -> Any:
        assert inputs["input_ids"].sum().item() > 0
        return forward(**inputs)

    model.forward = waiting
    together = classifier.classify(TEXTS)
    assert np.abs(together - recorded).max() < (1e-5 if backend == "pytorch-cuda" else 0.02)
    alone = np.concatenate([classifier.classify([text]) for text in TEXTS])
    assert np.array_equal(together, alone)
    assert np.array_equal(load("bert 6x384", backend).classify(TEXTS), recorded)


@pytest.fixture(params=BACKENDS)
def server(
    request: pytest.FixtureRequest, folder: Callable[[str, str], Path], tmp_path: Path
) -> Iterator[Server]:
    server = Server(folder("bert 6x384", request.param), tmp_path)
    try:
        server.wait_for("unreleased")
        yield server
    finally:
        server.kill()


def test_over_http_a_text_has_the_same_scores_whatever_others_ask_meanwhile(
    server: Server, load: Load
) -> None:
    backend = json.loads((server.folder / SERVING).read_text())["backend"]
    classifier = load("bert 6x384", backend)
    expected = classifier.classify(TEXTS)

    def asked(number: int) -> float:
        some = np.random.default_rng(number).choice(len(TEXTS), 1 + number % 7)
        answers = server.post({"instances": [TEXTS[i] for i in some]}).json()["predictions"]
        named = [{score["label"]: score["score"] for score in each["scores"]} for each in answers]
        scores = [[each[label] for label in classifier.labels] for each in named]
        return float(np.abs(np.array(scores) - expected[some]).max())

    with ThreadPoolExecutor(16) as pool:
        assert max(pool.map(asked, range(200))) < 1e-6
    assert server.metric("finegate_batch_texts_sum") >= 200


@pytest.mark.parametrize(
    ("precision", "backend"), [("exact", "pytorch-cuda"), ("reduced", "pytorch-cuda-bf16")]
)
def test_the_export_step_admits_the_gpu(
    precision: str, backend: str, tiny_model: Path, tmp_path: Path
) -> None:
    frame = pd.DataFrame(hotel_rows(300), columns=["text", "label"])
    frame[:200].to_parquet(tmp_path / "train.parquet")
    frame[200:].to_parquet(tmp_path / "test.parquet")
    settings = ExportSettings.model_validate({"device": "gpu", "precision": precision})
    chosen = choose(tiny_model, tmp_path, tmp_path / "added", settings)
    assert chosen.backend == backend
    served = Path(shutil.copytree(tiny_model, tmp_path / "served"))
    shutil.copytree(tmp_path / "added", served, dirs_exist_ok=True)
    assert Classifier.load(served).backend.name == backend

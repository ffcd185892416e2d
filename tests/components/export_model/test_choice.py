import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from components.export_model import choice
from components.export_model.agreement import Rows, judged
from components.export_model.choice import choose
from components.export_model.openvino_export import write_ir
from components.export_model.settings import ExportSettings
from components.export_model.speed import texts_per_second
from serving.backends.openvino import has_bf16, ir
from serving.classifier import Classifier, load_backend
from serving.errors import InputError
from serving.settings import SERVING, ServingSettings
from tests.conftest import hotel_rows
from tests.serving.conftest import Server

TEXTS = [text for text, _ in hotel_rows(400)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    frame = pd.DataFrame(hotel_rows(300), columns=["text", "label"])
    frame[:200].to_parquet(folder / "train.parquet")
    frame[200:].to_parquet(folder / "test.parquet")
    return folder


def exported(model: Path, rows: Path, tmp_path: Path, settings: ExportSettings) -> Path:
    """The model's folder with what the choice added to it."""
    choose(model, rows, tmp_path / "added", settings)
    folder = Path(shutil.copytree(model, tmp_path / "exported"))
    shutil.copytree(tmp_path / "added", folder, dirs_exist_ok=True)
    return folder


def test_the_exact_backend_answers_what_pytorch_answers(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    folder = exported(tiny_model, rows, tmp_path, ExportSettings(long_texts="window"))
    classifier = Classifier.load(folder)
    assert (classifier.backend.name, classifier.long_texts) == ("openvino", "window")
    assert (
        np.abs(classifier.classify(TEXTS) - Classifier.load(tiny_model).classify(TEXTS)).max()
        < 1e-5
    )
    [reference, entry] = json.loads((folder / SERVING).read_text())["tried"]
    assert (reference["backend"], entry["admitted"], entry["rows"]) == ("pytorch", True, 100)
    assert entry["largest_difference"] < 1e-5
    assert entry["tolerance"] == {"largest_difference": 1e-5}


def test_a_text_has_the_same_8_bit_answer_to_the_bit_in_any_batch(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(choice.CANDIDATES, ("cpu", "reduced"), ("openvino-int8",))
    settings = ExportSettings(precision="reduced", flips=1, accuracy_loss=1)
    classifier = Classifier.load(exported(tiny_model, rows, tmp_path, settings))
    assert classifier.backend.name == "openvino-int8"
    together = classifier.classify(TEXTS)
    alone = np.concatenate([classifier.classify([text]) for text in TEXTS])
    assert np.array_equal(together, alone)
    assert np.array_equal(classifier.classify(TEXTS[::-1])[::-1], together)
    reference = Classifier.load(tiny_model).classify(TEXTS)
    assert 1e-5 < np.abs(together - reference).max() < 0.1  # it is another, and near


def test_8_bits_are_fitted_to_pairs_and_judged_by_whole_sets_of_labels(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, problem_type="multi_label_classification"
    )
    with torch.no_grad():  # values that single texts never reach
        model.bert.embeddings.token_type_embeddings.weight[1, 0] += 5
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "model")
    frame = pd.DataFrame(hotel_rows(200), columns=["text", "text_pair"])
    frame["text_pair"] = frame["text"][::-1].tolist()
    frame["label"] = [[], ["praise"], ["blame", "neutral"], ["praise", "blame", "neutral"]] * 50
    frame[:100].to_parquet(tmp_path / "train.parquet")
    frame[100:].to_parquet(tmp_path / "test.parquet")

    settings = ExportSettings(precision="reduced", flips=1, accuracy_loss=1)
    _, entry, *_ = choose(tmp_path / "model", tmp_path, tmp_path / "added", settings).tried
    assert entry["backend"] == "openvino-int8"
    assert entry["largest_difference"] < 0.1
    classifier = Classifier.load(tmp_path / "model")
    scores = classifier.classify(frame["text"][100:].tolist(), frame["text_pair"][100:].tolist())
    right = [
        set(np.array(classifier.labels)[row >= 0.5]) == set(labels)
        for row, labels in zip(scores, frame["label"][100:], strict=True)
    ]
    assert 0 < np.mean(right) < 1
    assert entry["reference_accuracy"] == np.mean(right)


@pytest.mark.parametrize(
    ("problem_type", "outputs", "largest"),
    [("multi_label_classification", 3, 1.0), ("regression", 1, 100.0)],
)
def test_what_is_exported_answers_over_http_with_sigmoids_or_with_values_as_they_are(
    tiny_model: Path, tmp_path: Path, problem_type: str, outputs: int, largest: float
) -> None:
    folder, home = tmp_path / "model", tmp_path / "rows"
    config = AutoConfig.from_pretrained(tiny_model, num_labels=outputs, problem_type=problem_type)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    if problem_type == "regression":  # so large that fp32 rounds by more than 1e-5
        with torch.no_grad():
            model.classifier.bias += largest
            model.classifier.weight *= largest
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    frame = pd.DataFrame(hotel_rows(60), columns=["text", "label"])
    frame["label"] = 1.0 if problem_type == "regression" else [[], [config.id2label[0]]] * 30
    home.mkdir()
    frame[:30].to_parquet(home / "train.parquet")
    frame[30:].to_parquet(home / "test.parquet")
    server = Server(exported(folder, home, tmp_path, ExportSettings()), tmp_path)
    try:
        theirs = pipeline("text-classification", model=str(folder), top_k=None, truncation=True)
        expected = [{each["label"]: each["score"] for each in row} for row in theirs(TEXTS[:20])]
        server.wait_for("unreleased")
        platform = server.get("/v2/models/hotels").json()["platform"]
        answer = server.post({"instances": TEXTS[:20]}).json()
    finally:
        server.kill()
    assert platform == "finegate_openvino"
    for row, scores in zip(answer["predictions"], expected, strict=True):
        found = {each["label"]: each["score"] for each in row["scores"]}
        assert found == pytest.approx(scores, abs=1e-5 * largest)


IN_BF16 = pytest.mark.skipif(not has_bf16(), reason="this CPU does not compute in bf16")


@pytest.mark.parametrize(
    "fastest", ["openvino", pytest.param("openvino-bf16", marks=IN_BF16), "openvino-int8"]
)
def test_the_fastest_admitted_backend_serves(
    fastest: str, tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speeds(classifiers: list[Classifier], rows: Rows) -> list[float]:
        """The reference is faster still, and no candidate."""
        speed = {"pytorch": 3.0, fastest: 2.0}
        return [speed.get(classifier.backend.name, 1.0) for classifier in classifiers]

    monkeypatch.setattr(choice, "texts_per_second", speeds)
    settings = ExportSettings(precision="reduced", flips=1, accuracy_loss=1)
    folder = exported(tiny_model, rows, tmp_path, settings)
    chosen = ServingSettings.model_validate_json((folder / SERVING).read_bytes())
    assert chosen.backend == Classifier.load(folder).backend.name == fastest
    assert chosen.why.startswith(f"served by {fastest}, the fastest of openvino-int8, ")
    measured = {entry["backend"]: entry.get("texts_per_second") for entry in chosen.tried}
    assert (measured["pytorch"], measured[fastest]) == (3.0, 2.0)


def test_a_model_of_many_layers_is_measured_as_slower(tiny_model: Path, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(tiny_model, num_hidden_layers=40)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    shallow, deep = Classifier.load(tiny_model), Classifier.load(tmp_path)
    speeds = texts_per_second([deep, shallow], Rows(TEXTS, None, None))
    assert 0 < 3 * speeds[0] < speeds[1]


@pytest.mark.parametrize("bf16", [pytest.param(True, marks=IN_BF16), False])
def test_8_bits_that_flip_labels_and_bf16_without_a_cpu_for_it_are_not_admitted(
    bf16: bool, tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.backends.openvino.has_bf16", lambda: bf16)

    def on_nonsense(
        reference: Classifier, texts: list[str], source: Path, folder: Path, pairs: None
    ) -> None:
        """An 8-bit model of other weights, as a failed calibration makes."""
        shuffled = torch.nn.Module.state_dict(reference.backend.model)  # type: ignore[attr-defined]  # the backend is PyTorch
        kept = shuffled["classifier.weight"].clone()
        shuffled["classifier.weight"].copy_(kept.flip(0))
        choice.write_ir(reference, folder)
        shuffled["classifier.weight"].copy_(kept)

    monkeypatch.setattr(choice, "write_int8_ir", on_nonsense)
    folder = exported(tiny_model, rows, tmp_path, ExportSettings(precision="reduced"))
    settings = ServingSettings.model_validate_json((folder / SERVING).read_bytes())
    assert [entry.get("admitted") for entry in settings.tried] == [None, False, bf16, True]
    assert "of the labels change, 1.00% allowed" in settings.tried[1]["why"]
    if bf16:
        assert 1e-6 < settings.tried[2]["largest_difference"] < 0.01  # it is another, and near
        return
    assert settings.backend == Classifier.load(folder).backend.name == "openvino"
    assert "this CPU does not compute in bf16" in settings.tried[2]["why"]
    assert "texts_per_second" not in settings.tried[2]


def test_a_bf16_release_is_refused_by_a_cpu_without_bf16(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.backends.openvino.has_bf16", lambda: False)
    write_ir(Classifier.load(tiny_model), tmp_path)
    with pytest.raises(InputError, match="this CPU does not compute in bf16"):
        load_backend("openvino-bf16", tmp_path)


def test_a_model_that_cannot_be_converted_is_served_by_pytorch(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(reference: Classifier, folder: Path, *, exact: bool) -> None:
        raise RuntimeError("no conversion rule for aten::strange")

    monkeypatch.setattr(choice, "write_ir", unknown)
    folder = exported(tiny_model, rows, tmp_path, ExportSettings())
    settings = ServingSettings.model_validate_json((folder / SERVING).read_bytes())
    assert settings.backend == "pytorch"
    assert "aten::strange" in settings.why
    assert not ir(folder).exists()


def test_a_gpu_that_is_not_here_is_told(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(InputError, match="no CUDA device here"):
        choose(tiny_model, rows, tmp_path / "added", ExportSettings(device="gpu"))
    assert not (tmp_path / "added").exists()


@pytest.mark.parametrize(
    "problem_type", ["single_label_classification", "multi_label_classification"]
)
def test_lost_accuracy_keeps_a_backend_out_even_with_few_flips(problem_type: str) -> None:
    reference = np.tile(np.array([[0.6, 0.4]], dtype=np.float32), (1000, 1))
    scores = reference.copy()
    scores[:8] = 0.4, 0.6
    entry = judged(
        "openvino-int8", reference, scores, problem_type, reference > 0.5,
        ExportSettings(precision="reduced"),
    )  # fmt: skip
    assert entry["flips"] == pytest.approx(0.008)
    assert entry["tolerance"] == {"flips": 0.01, "accuracy_loss": 0.005}
    assert not entry["admitted"]
    assert "accuracy 0.9920 after 1.0000" in entry["why"]


def test_a_multi_label_flip_is_a_label_that_crosses_one_half() -> None:
    reference = np.full((100, 3), 0.51, dtype=np.float32)
    scores = reference.copy()
    scores[0, 1] = 0.49
    truth = np.ones((100, 3), dtype=bool)
    truth[0, 0] = False  # this row was wrong before
    settings = ExportSettings(precision="reduced")
    problem = "multi_label_classification"
    entry = judged("openvino-int8", reference, scores, problem, truth, settings)
    assert (entry["flips"], entry["admitted"]) == (pytest.approx(0.01), True)


def test_a_regression_is_not_served_with_reduced_precision() -> None:
    values = np.ones((5, 1), dtype=np.float32)
    settings = ExportSettings(precision="reduced")
    assert not judged("openvino-int8", values, values, "regression", None, settings)["admitted"]


@pytest.mark.parametrize(("size", "difference", "admitted"), [
    (1, 9e-6, True), (1, 2e-5, False), (100, 9e-4, True), (100, 2e-3, False), (0.01, 9e-6, True),
])  # fmt: skip
def test_a_regression_may_differ_in_proportion_to_its_largest_value(
    size: float, difference: float, admitted: bool
) -> None:
    values = size * np.array([[1], [-0.5], [0.1]])
    entry = judged("openvino", values, values + difference, "regression", None, ExportSettings())
    assert entry["admitted"] == admitted
    assert entry["tolerance"] == {"largest_difference": pytest.approx(1e-5 * max(1, size))}


FREED_ELSEWHERE = """
import gc, os, signal, sys, threading
from pathlib import Path
from serving.backends.openvino import OpenVINOBackend
signal.signal(signal.SIGHUP, lambda *_: print("handled"))
loaded = [OpenVINOBackend(Path(sys.argv[1]))]
thread = threading.Thread(target=lambda: (loaded.pop(), gc.collect()))
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGHUP)
"""


def test_a_signal_is_survived_after_a_model_was_freed_on_another_thread(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    folder = exported(tiny_model, rows, tmp_path, ExportSettings())
    command = [sys.executable, "-c", FREED_ELSEWHERE, str(folder)]
    end = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (end.returncode, end.stdout) == (0, "handled\n")

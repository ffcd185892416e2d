"""Try the backends for a device; take the fastest of those that agree with the reference."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.console import say
from components.export_model.agreement import Rows, judged
from components.export_model.openvino_export import write_int8_ir, write_ir
from components.export_model.settings import ExportSettings
from components.export_model.speed import texts_per_second
from serving.backends.openvino import ir
from serving.backends.pytorch import PyTorchBackend
from serving.classifier import Classifier
from serving.errors import InputError
from serving.settings import SERVING, BackendName, ServingSettings

STEP = "export_model"

CANDIDATES: dict[tuple[str, str], tuple[BackendName, ...]] = {
    ("cpu", "exact"): ("openvino",),
    ("cpu", "reduced"): ("openvino-int8", "openvino-bf16", "openvino"),
    ("gpu", "exact"): ("pytorch-cuda",),
    ("gpu", "reduced"): ("pytorch-cuda-bf16", "pytorch-cuda"),
}
"""By device and precision what is tried. Which is the fastest depends on the machine: one CPU
computes in bf16 at nearly twice the speed of fp32, another at half of it (benchmarks/README.md)."""


def choose(folder: Path, rows: Path, added: Path, settings: ExportSettings) -> ServingSettings:
    """Choose the backend for the model in `folder`; write what it adds to the folder to `added`.

    `rows` holds train.parquet and test.parquet. On a CPU the reference itself serves where no
    other backend can be made of the model or none agrees; on a GPU that is an InputError.
    """
    reference = Classifier.load(folder)
    test = pd.read_parquet(rows / "test.parquet")
    compared = _rows(test.sample(min(settings.rows, len(test)), random_state=0), reference)
    train = pd.read_parquet(rows / "train.parquet")
    calibration = _rows(
        train.sample(min(settings.calibration_rows, len(train)), random_state=0), reference
    )
    expected = reference.classify(compared.texts, compared.pairs)
    tried: list[dict[str, Any]] = [{"backend": "pytorch"}]
    timed = [(tried[0], reference)]
    for name in CANDIDATES[settings.device, settings.precision]:
        try:
            candidate = _made(name, folder, _home(name, added), reference, calibration)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - converters raise whatever their parts raise
            why = f"cannot be made ({type(error).__name__}: {error})"[:500]
            entry: dict[str, Any] = {"backend": name, "admitted": False, "why": why}
        else:
            scores = candidate.classify(compared.texts, compared.pairs)
            entry = judged(name, expected, scores, reference.problem_type, compared.truth, settings)
            timed.append((entry, candidate))
        tried.append(entry)
        say(STEP, f"{name} {'admitted' if entry['admitted'] else 'not admitted'}: {entry['why']}")
    speeds = texts_per_second([classifier for _, classifier in timed], compared)
    for (entry, _), speed in zip(timed, speeds, strict=True):
        entry["texts_per_second"] = round(speed, 1)
    admitted = [entry for entry in tried[1:] if entry["admitted"]]
    found: BackendName = "pytorch"
    if admitted:
        found = max(admitted, key=lambda entry: entry["texts_per_second"])["backend"]
    if found == "pytorch" and settings.device == "gpu":
        raise InputError(
            f"no backend for device gpu agrees with the reference: {tried[-1]['why']}. Allow more "
            "with export.tolerance, or export with device: cpu."
        )
    chosen = ServingSettings(
        backend=found, long_texts=settings.long_texts, why=_why(found, tried), tried=tried
    )
    added.mkdir()
    (added / SERVING).write_text(chosen.model_dump_json(indent=2) + "\n", encoding="utf-8")
    made = ir(_home(found, added)).parent
    if made.is_dir():
        shutil.move(made, added / made.name)
    return chosen


def _rows(frame: pd.DataFrame, classifier: Classifier) -> Rows:
    pairs = frame["text_pair"].tolist() if "text_pair" in frame else None
    truth = None
    if classifier.problem_type != "regression":
        several = classifier.problem_type == "multi_label_classification"
        named = frame["label"] if several else ([label] for label in frame["label"])
        truth = np.array(
            [[label in names for label in classifier.labels] for names in named], dtype=bool
        )
    return Rows(frame["text"].tolist(), pairs, truth)


def _made(
    name: BackendName, folder: Path, home: Path, reference: Classifier, calibration: Rows
) -> Classifier:
    """The model behind the backend `name`; files that this takes are written to `home`."""
    if not name.startswith("openvino"):
        return _with(reference, PyTorchBackend(folder, name))
    from serving.backends.openvino import OpenVINOBackend, why_not_bf16
    from serving.backends.openvino import openvino as ov

    exact = name == "openvino"
    floats = home if exact else _home("openvino-bf16", home)
    if not ir(floats).is_file():
        write_ir(reference, floats, exact=exact)
    if name == "openvino-bf16" and (why := why_not_bf16(ov.Core().read_model(ir(floats)))):
        raise ValueError(why)
    if name == "openvino-int8":
        write_int8_ir(reference, calibration.texts, floats, home, calibration.pairs)
    return _with(reference, OpenVINOBackend(home, name))


def _home(name: BackendName, added: Path) -> Path:
    """Where the files of a candidate are made, beside `added`."""
    return added.with_name(f"candidate-{name}")


def _with(reference: Classifier, backend: Any) -> Classifier:
    return Classifier(reference.encoder, backend, reference.config)


def _why(found: BackendName, tried: list[dict[str, Any]]) -> str:
    if found == "pytorch":
        return f"served by pytorch: {tried[-1]['backend']} {tried[-1]['why']}"
    admitted = {entry["backend"]: entry for entry in tried[1:] if entry["admitted"]}
    fastest = f", the fastest of {', '.join(admitted)}" if len(admitted) > 1 else ""
    return f"served by {found}{fastest}: {admitted[found]['why']}"

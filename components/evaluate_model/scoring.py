"""A model and test rows in one folder each; predictions, golden rows and metrics out."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.console import Progress
from components.evaluate_model.metrics import (
    Floats,
    classification_metrics,
    multi_label_metrics,
    regression_metrics,
    roc_points,
)
from components.storage import json_bytes
from serving.classifier import Classifier
from serving.errors import InputError
from serving.reference import reference_of

STEP = "evaluate_model"
ROWS_A_TURN = 256
GOLDEN = "golden.json"
GOLDEN_ROWS = 64


def score(folder: Path, test: pd.DataFrame, target: Path) -> dict[str, Any]:
    """Classify the test rows, write the files, and return labels, metrics and ROC points."""
    classifier = Classifier.load(folder)
    labels = list(classifier.labels)
    progress = Progress(STEP, "scoring, row", len(test))
    texts = test["text"].tolist()
    pairs = test["text_pair"].tolist() if "text_pair" in test else None
    parts = []
    refused: list[bool] = []
    truth = _truth(test, labels, classifier.problem_type)
    for start in range(0, len(texts), ROWS_A_TURN):
        turn = slice(start, start + ROWS_A_TURN)
        parts.append(classifier.classify(texts[turn], pairs[turn] if pairs else None))
        refused += _refused(classifier, texts[turn], pairs[turn] if pairs else None)
        progress.reach(min(start + ROWS_A_TURN, len(texts)))
    if all(refused):
        raise InputError(
            f"all {len(test)} test rows are longer than the {classifier.encoder.max_length} tokens "
            "that the model takes, and export.long_texts: reject would answer none of them. Raise "
            "tokenization.max_length, or set export.long_texts to truncate or window."
        )
    probabilities = np.concatenate(parts)
    predicted, metrics = _judged(truth, probabilities, labels, classifier.problem_type)
    test[["row", "file", "label"]].assign(
        predicted=predicted, probabilities=list(probabilities), refused=refused
    ).to_parquet(target / "predictions.parquet", index=False)
    answered = np.flatnonzero(~np.array(refused))
    golden = _golden(test.iloc[answered], probabilities[answered], labels)
    (target / GOLDEN).write_bytes(json_bytes(golden))
    reference = reference_of(labels, classifier.problem_type, probabilities)
    binary = classifier.problem_type == "single_label_classification" and len(labels) == 2
    return {
        "labels": labels,
        "problem_type": classifier.problem_type,
        "metrics": metrics,
        "roc": roc_points(truth, probabilities) if binary else None,
        "reference": reference and reference.model_dump(mode="json"),
    }


def _refused(classifier: Classifier, texts: list[str], pairs: list[str] | None) -> list[bool]:
    """Which texts the endpoint answers 400, as too long; they are scored as they are cut."""
    if classifier.long_texts != "reject":
        return [False] * len(texts)
    return [windows[0].truncated for windows in classifier.encode(texts, pairs)]


def _truth(test: pd.DataFrame, labels: list[str], problem_type: str) -> npt.NDArray[Any]:
    """True labels as the metrics take them: ids [N], bool [N, C], or numbers [N]."""
    if problem_type == "regression":
        return test["label"].to_numpy(dtype=np.float64)
    several = problem_type == "multi_label_classification"
    named = test["label"].map(list) if several else test["label"].map(lambda name: [name])
    foreign = sorted({str(name) for names in named for name in names} - set(labels))
    if foreign:
        raise InputError(
            f"the test rows have the label(s) {', '.join(foreign)}, which the model does not know "
            f"(it knows {', '.join(labels)}). Evaluate it on rows with its own labels, or give the "
            "new label set a model name of its own."
        )
    applies = np.array([[label in names for label in labels] for names in named], dtype=bool)
    return applies if several else applies.argmax(axis=1).astype(np.int64)


def _judged(
    truth: npt.NDArray[Any], probabilities: Floats, labels: list[str], problem_type: str
) -> tuple[list[Any], dict[str, Any]]:
    """What is predicted for each row, and the metrics of this kind of problem."""
    if problem_type == "regression":
        values = probabilities[:, 0]
        return [float(value) for value in values], regression_metrics(truth, values)
    if problem_type == "multi_label_classification":
        chosen = [[labels[i] for i in np.flatnonzero(row >= 0.5)] for row in probabilities]
        return chosen, multi_label_metrics(truth, probabilities, labels)
    best = [labels[index] for index in probabilities.argmax(axis=1)]
    return best, classification_metrics(truth, probabilities, labels)


def _golden(test: pd.DataFrame, probabilities: Floats, labels: list[str]) -> dict[str, Any]:
    """Rows by which an endpoint proves that it is this model."""
    places = np.random.default_rng(0).permutation(len(test))[:GOLDEN_ROWS]
    texts = [column for column in ("text", "text_pair") if column in test]
    rows = [
        {
            **{column: str(test[column].iloc[place]) for column in texts},
            "probabilities": [float(value) for value in probabilities[place]],
        }
        for place in places
    ]
    return {"labels": labels, "rows": rows}

"""A model and a validated dataset in; probabilities and metrics of the test rows out."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from components import folders, promotions
from components.console import Progress, say
from components.fingerprint import fingerprint

STEP = "evaluate_model"
ROWS_A_TURN = 256

WEIGHTLESS = ("training.jsonl",)
"""Files of a fine-tuned model that scoring does not read."""


class Evaluations(NamedTuple):
    """S3 addresses of evaluations on the same test rows; `champion` is '' when there is none."""

    candidate: str
    champion: str


def evaluate(store: str, model: str, dataset: str, name: str) -> Evaluations:
    """Score the candidate, and the present champion of `name`, on the dataset's test split."""
    candidate = evaluate_one(store, folders.existing(model), model, dataset)
    current = promotions.champion(store, name)
    if current is None:
        say(STEP, f"{name} has no champion yet: the candidate is judged alone")
        return Evaluations(candidate, "")
    uri = promotions.release_uri(store, name, current.version)
    release = folders.manifest_of(uri, promotions.RELEASE)
    if release is None:
        raise RuntimeError(f"champion {current.version} of {name} has no release at {uri}")
    return Evaluations(candidate, evaluate_one(store, release, uri, dataset))


def evaluate_one(store: str, manifest: folders.Manifest, model: str, dataset: str) -> str:
    """Write `evaluations/<fingerprint>/predictions.parquet` with the metrics in its manifest.

    Columns: row, file, label, predicted (names) and probabilities (float32 list in the order of
    the manifest's `labels`). Scores with `serving.Classifier`, the one that the endpoint wraps.
    """
    rows_manifest = folders.existing(dataset)
    identity = fingerprint(
        {"model": manifest["fingerprint"], "dataset": rows_manifest["fingerprint"]},
        code=["components.evaluate_model", "serving.classifier", "serving.encoding"],
        libraries=["openvino", "scikit-learn", "tokenizers", "torch", "transformers"],
    )
    uri = f"{store}/evaluations/{identity}"
    if folders.manifest_of(uri) is not None:
        say(STEP, f"cached: {uri} (same model, same test rows)")
        return uri
    from components.evaluate_model.baselines import baselines

    with tempfile.TemporaryDirectory() as scratch:
        folder, target = Path(scratch) / "model", Path(scratch) / "target"
        needed = [file for file in manifest["files"] if file["path"] not in WEIGHTLESS]
        folders.fetch(model, folder, {**manifest, "files": needed})
        folders.fetch(dataset, Path(scratch) / "rows", rows_manifest)
        test = pd.read_parquet(Path(scratch) / "rows" / "test.parquet")
        train = pd.read_parquet(Path(scratch) / "rows" / "train.parquet")
        target.mkdir()
        facts = score(folder, test, target / "predictions.parquet")
        facts = {
            "kind": "evaluation",
            "fingerprint": identity,
            "model": manifest["fingerprint"],
            "dataset": rows_manifest["fingerprint"],
            "baselines": baselines(train, test),
            **facts,
        }
        folders.publish(target, uri, facts)
    metrics = facts["metrics"]
    say(
        STEP,
        f"accuracy {metrics['accuracy']:.3f}, macro F1 {metrics['macro_f1']:.3f} on "
        f"{metrics['rows']} test rows: {uri}",
    )
    return uri


def score(folder: Path, test: pd.DataFrame, predictions: Path) -> dict[str, Any]:
    """Classify the test rows, write `predictions`, and return labels, metrics and ROC points."""
    import numpy as np

    from components.evaluate_model.metrics import classification_metrics, roc_points
    from serving.classifier import Classifier
    from serving.errors import InputError

    classifier = Classifier.load(folder)
    labels = list(classifier.labels)
    foreign = sorted(set(test["label"]) - set(labels))
    if foreign:
        raise InputError(
            f"the test rows have the label(s) {', '.join(foreign)}, which the model does not know "
            f"(it knows {', '.join(labels)}). Evaluate it on rows with its own labels, or give the "
            "new label set a model name of its own."
        )
    progress = Progress(STEP, "scoring, row", len(test))
    texts = test["text"].tolist()
    pairs = test["text_pair"].tolist() if "text_pair" in test else None
    parts = []
    for start in range(0, len(texts), ROWS_A_TURN):
        turn = slice(start, start + ROWS_A_TURN)
        parts.append(classifier.classify(texts[turn], pairs[turn] if pairs else None))
        progress.reach(min(start + ROWS_A_TURN, len(texts)))
    probabilities = np.concatenate(parts)
    truth = test["label"].map(labels.index).to_numpy(dtype=np.int64)
    test[["row", "file", "label"]].assign(
        predicted=[labels[index] for index in probabilities.argmax(axis=1)],
        probabilities=list(probabilities),
    ).to_parquet(predictions, index=False)
    return {
        "labels": labels,
        "metrics": classification_metrics(truth, probabilities, labels),
        "roc": roc_points(truth, probabilities) if len(labels) == 2 else None,
    }

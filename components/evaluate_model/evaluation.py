"""A model and a validated dataset in; probabilities and metrics of the test rows out."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from components import folders, promotions
from components.console import say
from components.fingerprint import fingerprint

STEP = "evaluate_model"


class Evaluations(NamedTuple):
    """S3 addresses of evaluations on the same test rows; `champion` is '' when there is none."""

    candidate: str
    champion: str


def evaluate(store: str, model: str, dataset: str, name: str) -> Evaluations:
    """Score the candidate, and the present champion of `name`, on the dataset's test split."""
    current = promotions.champion(store, name)
    release = promotions.existing_release(store, name, current.version) if current else None
    candidate = evaluate_one(store, folders.existing(model), model, dataset)
    if current is None or release is None:
        say(STEP, f"{name} has no champion yet: the candidate is judged alone")
        return Evaluations(candidate, "")
    uri = promotions.release_uri(store, name, current.version)
    if sorted(release["labels"]) != sorted(folders.existing(candidate)["labels"]):
        say(STEP, f"champion {current.version} has other labels, so it cannot be compared")
        return Evaluations(candidate, "")
    return Evaluations(candidate, evaluate_one(store, release, uri, dataset))


def evaluate_one(store: str, manifest: folders.Manifest, model: str, dataset: str) -> str:
    """Write `evaluations/<fingerprint>/` with the metrics in its manifest; returns its address.

    predictions.parquet has the columns row, file, label, predicted (names; lists of them with
    several labels a row; numbers for a regression), probabilities (float32 list in the order of
    the manifest's `labels`) and refused (the endpoint rejects the text as too long). golden.json
    has GOLDEN_ROWS texts with their probabilities, which an endpoint must answer. Scores with
    `serving.Classifier`, the one that the endpoint wraps.
    """
    rows_manifest = folders.existing(dataset)
    identity = fingerprint(
        {"model": manifest["fingerprint"], "dataset": rows_manifest["fingerprint"]},
        code=[
            "components.evaluate_model",
            "serving.classifier",
            "serving.encoding",
            "serving.families",
            "serving.reference",
        ],
        libraries=["openvino", "scikit-learn", "tokenizers", "torch", "transformers"],
    )
    uri = f"{store}/evaluations/{identity}"
    if folders.cached(uri, STEP, "same model, same test rows"):
        return uri
    # Here and not above: a cache hit needs no scikit-learn, whose import takes over a second.
    from components.evaluate_model.baselines import baselines
    from components.evaluate_model.scoring import score

    with tempfile.TemporaryDirectory() as scratch:
        folder, target = Path(scratch) / "model", Path(scratch) / "target"
        folders.fetch(model, folder, manifest, lambda path: path != "training.jsonl")
        folders.fetch(dataset, Path(scratch) / "rows", rows_manifest)
        test = pd.read_parquet(Path(scratch) / "rows" / "test.parquet")
        train_file = Path(scratch) / "rows" / "train.parquet"
        target.mkdir()
        facts = score(folder, test, target)
        learned = {}
        if train_file.is_file():  # a labelled file that is only scored has no rows to learn from
            train = pd.read_parquet(train_file)
            learned = baselines(train, test, facts["problem_type"], facts["labels"])
        facts = {
            "kind": "evaluation",
            "fingerprint": identity,
            "model": manifest["fingerprint"],
            "dataset": rows_manifest["fingerprint"],
            "baselines": learned,
            **facts,
        }
        folders.publish(target, uri, facts)
    say(STEP, f"{headline(facts['metrics'])}: {uri}")
    return uri


def headline(metrics: dict[str, Any]) -> str:
    """The metrics that one looks at first, as half a sentence."""
    found = (
        f"mean absolute error {metrics['mae']:.4f}"
        if "mae" in metrics
        else f"accuracy {metrics['accuracy']:.4f}, macro F1 {metrics['macro_f1']:.4f}"
    )
    return f"{found} on {metrics['rows']} test rows"

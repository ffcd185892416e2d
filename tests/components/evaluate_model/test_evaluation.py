from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kfp.dsl import ClassificationMetrics, Metrics
from transformers import pipeline

from components import folders
from components.evaluate_model.artifacts import log_classification, log_metrics
from components.evaluate_model.evaluation import evaluate, evaluate_one
from serving.errors import InputError
from tests.conftest import hotel_rows


def published(store: str, tiny_model: Path, tmp_path: Path, label: str = "") -> tuple[str, str]:
    folder = tmp_path / "validated"
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame(hotel_rows(300), columns=["text", "label"])
    frame.insert(0, "row", range(300))
    frame.insert(1, "file", "d.csv")
    if label:
        frame.loc[299, "label"] = label
    frame[:200].to_parquet(folder / "train.parquet")
    frame[200:].to_parquet(folder / "test.parquet")
    folders.publish(folder, f"{store}/validated/v", {"fingerprint": "v"})
    folders.publish(tiny_model, f"{store}/finetuned/c", {"fingerprint": "c"})
    return f"{store}/finetuned/c", f"{store}/validated/v"


def test_predictions_are_those_of_the_transformers_pipeline(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    model, dataset = published(store, tiny_model, tmp_path)
    evaluations = evaluate(store, model, dataset, "hotels")
    assert evaluations.champion == ""
    facts = folders.existing(evaluations.candidate)
    found = folders.read_table(evaluations.candidate, "predictions.parquet")
    texts = folders.read_table(dataset, "test.parquet")["text"].tolist()
    theirs = pipeline("text-classification", model=str(tiny_model), top_k=None, truncation=True)
    for probabilities, answer in zip(found["probabilities"], theirs(texts), strict=True):
        scores = {each["label"]: each["score"] for each in answer}
        expected = [scores[label] for label in facts["labels"]]
        assert np.allclose(probabilities, expected, atol=1e-5)
    right = (found["label"] == found["predicted"]).mean()
    assert facts["metrics"]["accuracy"] == pytest.approx(right)
    assert facts["metrics"]["rows"] == 100
    reference = facts["reference"]
    assert reference["rows"] == 100
    counts = found["predicted"].value_counts()
    assert reference["labels"] == {label: counts.get(label, 0) for label in facts["labels"]}
    sure = found["probabilities"].map(max)
    assert reference["confidence"]["0.5"] == (sure <= 0.5).sum()


def test_a_model_is_scored_once_on_the_same_rows(
    store: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, dataset = published(store, tiny_model, tmp_path)
    first = evaluate_one(store, folders.existing(model), model, dataset)
    assert evaluate_one(store, folders.existing(model), model, dataset) == first
    assert "cached" in capsys.readouterr().out


def test_rows_of_one_class_are_scored_too(store: str, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    labels = {0: "blame", 1: "praise"}
    config = AutoConfig.from_pretrained(
        tiny_model, id2label=labels, label2id={name: index for index, name in labels.items()}
    )
    model, rows = tmp_path / "model", tmp_path / "rows"
    AutoModelForSequenceClassification.from_config(config).save_pretrained(model)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(model)
    rows.mkdir()
    frame = pd.DataFrame({"row": range(8), "file": "d.csv", "text": "lovely", "label": "praise"})
    frame.to_parquet(rows / "test.parquet")
    folders.publish(model, f"{store}/finetuned/c", {"fingerprint": "c"})
    folders.publish(rows, f"{store}/validated/v", {"fingerprint": "v"})
    evaluations = evaluate(store, f"{store}/finetuned/c", f"{store}/validated/v", "hotels")
    facts = folders.existing(evaluations.candidate)
    assert (facts["roc"], facts["metrics"]["roc_auc"]) == (None, None)
    assert facts["metrics"]["classes"]["praise"]["support"] == 8
    metrics, classification = Metrics(), ClassificationMetrics()
    log_metrics(facts, metrics)
    log_classification(facts, classification)
    assert "roc_auc" not in metrics.metadata
    assert set(classification.metadata) == {"confusionMatrix"}


def test_a_label_that_the_model_does_not_know_is_refused(
    store: str, tiny_model: Path, tmp_path: Path
) -> None:
    model, dataset = published(store, tiny_model, tmp_path, label="enthusiasm")
    with pytest.raises(InputError, match=r"label\(s\) enthusiasm"):
        evaluate(store, model, dataset, "hotels")

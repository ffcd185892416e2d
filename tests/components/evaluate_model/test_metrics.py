import json

import numpy as np
import pandas as pd
import pytest

from components.evaluate_model.baselines import baselines
from components.evaluate_model.metrics import (
    calibration_error,
    classification_metrics,
    multi_label_metrics,
    regression_metrics,
    roc_points,
)
from tests.conftest import hotel_rows

TRUTH = np.array([0, 0, 1, 1, 1, 0])
PROBABILITIES = np.array(
    [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.7, 0.3]], dtype=np.float32
)


def test_metrics_are_those_counted_by_hand() -> None:
    metrics = classification_metrics(TRUTH, PROBABILITIES, ["bad", "good"])
    assert metrics["confusion"] == [[2, 1], [1, 2]]
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["classes"]["good"] == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "support": 3,
    }
    right = PROBABILITIES[np.arange(6), TRUTH]
    assert metrics["log_loss"] == pytest.approx(-np.log(right).mean(), rel=1e-5)
    ranked = sum(p > q for p in (0.8, 0.7, 0.4) for q in (0.1, 0.6, 0.3))
    assert metrics["roc_auc"] == pytest.approx(ranked / 9)


def test_a_class_absent_from_the_test_rows_breaks_nothing() -> None:
    three = np.column_stack([PROBABILITIES * 0.9, np.full(6, 0.1)]).astype(np.float32)
    metrics = classification_metrics(TRUTH, three, ["bad", "good", "rare"])
    assert metrics["classes"]["rare"]["support"] == 0
    assert metrics["macro_f1"] == pytest.approx(2 / 3)
    one = classification_metrics(np.zeros(6, dtype=np.int64), PROBABILITIES, ["bad", "good"])
    assert one["roc_auc"] is None
    json.dumps([metrics, one], allow_nan=False)


def test_the_roc_curve_runs_from_corner_to_corner_without_infinity() -> None:
    curve = roc_points(TRUTH, PROBABILITIES)
    assert curve is not None
    json.dumps(curve, allow_nan=False)
    assert (curve["fpr"][0], curve["tpr"][0]) == (0, 0)
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1, 1)
    assert curve["thresholds"][0] == 1


@pytest.mark.parametrize("only", [0, 1])
def test_rows_of_one_class_have_no_roc_curve(only: int) -> None:
    assert roc_points(np.full(6, only), PROBABILITIES) is None


@pytest.mark.parametrize("chinese", [False, True])
def test_tfidf_learns_what_the_majority_class_cannot(chinese: bool) -> None:
    rows = hotel_rows(400)
    if chinese:
        words = {"praise": "干净", "blame": "太吵", "neutral": "一般"}
        rows = [(f"房间{words[label]}第{n}次住", label) for n, (_, label) in enumerate(rows)]
    frame = pd.DataFrame(rows, columns=["text", "label"])
    found = baselines(frame[:300], frame[300:])
    majority = frame["label"][:300].mode()[0]
    assert found["majority"]["accuracy"] == (frame["label"][300:] == majority).mean()
    assert found["tfidf"]["accuracy"] > 0.95


def test_baselines_of_several_labels_and_of_numbers_are_learned_too() -> None:
    rows = hotel_rows(400)
    frame = pd.DataFrame(rows, columns=["text", "label"])
    labels = ["blame", "neutral", "noise", "praise"]
    several = frame.assign(
        label=[[label, *(["noise"] if "room" in text else [])] for text, label in rows]
    )
    found = baselines(several[:300], several[300:], "multi_label_classification", labels)
    assert found["tfidf"]["accuracy"] > found["majority"]["accuracy"]
    assert found["tfidf"]["macro_f1"] > 0.9
    one = frame.assign(label=[["noise"] if "room" in text else [] for text, _ in rows])
    found = baselines(one[:300], one[300:], "multi_label_classification", ["noise"])
    assert found["tfidf"]["macro_f1"] > 0.9 > found["majority"]["macro_f1"]
    stars = {"blame": 1.0, "neutral": 3.0, "praise": 5.0}
    numbers = frame.assign(label=[stars[label] for _, label in rows])
    found = baselines(numbers[:300], numbers[300:], "regression", ["stars"])
    mean = numbers["label"][:300].mean()
    assert found["majority"]["mae"] == pytest.approx(abs(numbers["label"][300:] - mean).mean())
    assert found["tfidf"]["mae"] < found["majority"]["mae"] / 2


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = np.tile(np.array([0.2, 0.8], dtype=np.float32), (100, 1))
    truth = np.array([1] * 60 + [0] * 40)
    assert calibration_error(truth, sure) == pytest.approx(0.2)
    assert calibration_error(np.array([1] * 80 + [0] * 20), sure) == pytest.approx(0, abs=1e-6)


def test_several_labels_a_row_are_scored_label_by_label() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=bool)
    probabilities = np.array([[0.9, 0.2], [0.4, 0.7], [0.1, 0.1], [0.6, 0.8]], dtype=np.float32)
    metrics = multi_label_metrics(truth, probabilities, ["late", "rude"])
    assert metrics["accuracy"] == 0.5
    assert metrics["hamming_loss"] == 0.25
    assert metrics["classes"]["late"]["precision"] == 0.5
    assert metrics["classes"]["rude"]["f1"] == 1
    assert metrics["roc_auc"] == pytest.approx((0.75 + 1) / 2)
    json.dumps(metrics, allow_nan=False)


def test_rows_to_which_no_label_applies_have_averages_of_nothing() -> None:
    none = np.zeros((4, 2), dtype=bool)
    metrics = multi_label_metrics(none, np.full((4, 2), 0.3, np.float32), ["late", "rude"])
    assert (metrics["accuracy"], metrics["macro_f1"], metrics["micro_f1"]) == (1, 0, 0)
    assert metrics["roc_auc"] is None
    json.dumps(metrics, allow_nan=False)


def test_one_label_that_applies_or_not_is_scored_as_one() -> None:
    truth = np.array([[1], [1], [0], [0], [0]], dtype=bool)
    probabilities = np.array([[0.9], [0.2], [0.1], [0.7], [0.6]], dtype=np.float32)
    metrics = multi_label_metrics(truth, probabilities, ["late"])
    found = metrics["classes"]["late"]
    assert (found["precision"], found["recall"], found["support"]) == (pytest.approx(1 / 3), 0.5, 2)
    assert metrics["macro_f1"] == metrics["micro_f1"] == pytest.approx(0.4)


def test_numbers_are_scored_by_their_distance() -> None:
    truth, values = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0], dtype=np.float32)
    metrics = regression_metrics(truth, values)
    assert metrics["mae"] == pytest.approx(0.5)
    assert metrics["rmse"] == pytest.approx((1.25 / 3) ** 0.5)
    assert metrics["rank_correlation"] == pytest.approx(1)
    assert regression_metrics(np.ones(3), values)["r2"] is None


@pytest.mark.parametrize("alphabet", ["房间很干净差", "ACGT", "\U0001f600\U0001f610\U0001f44d"])
def test_tfidf_learns_from_texts_of_single_characters_with_spaces(alphabet: str) -> None:
    texts = [" ".join(alphabet[place % len(alphabet)] * 9) for place in range(60)]
    rows = pd.DataFrame({"text": texts, "label": [text[0] for text in texts]})
    assert baselines(rows, rows)["tfidf"]["accuracy"] == 1


def test_tfidf_knows_a_class_that_its_sample_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.evaluate_model.baselines.TRAINING_ROWS", 5)
    texts = [f"a usual text {place}" for place in range(200)]
    rows = pd.DataFrame({"text": [*texts, "rare words"], "label": ["usual"] * 200 + ["rare"]})
    assert baselines(rows, rows[-1:])["tfidf"]["accuracy"] == 1

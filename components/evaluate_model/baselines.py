"""What the fine-tune must be worth: the usual answer, and TF-IDF with a linear model."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from components.evaluate_model.metrics import multi_label_metrics, regression_metrics

TRAINING_ROWS = 20_000
"""Rows that the TF-IDF baseline learns from, so that it stays a matter of seconds."""
WORD = r"\b\w+\b"
"""Words of one character too: texts may be split into them."""
TOLD = ("accuracy", "macro_f1", "mae", "rmse")


def baselines(
    train: pd.DataFrame,
    test: pd.DataFrame,
    problem_type: str = "single_label_classification",
    labels: list[str] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Accuracy and macro F1, of numbers MAE and RMSE, of each baseline on the test rows.

    `majority` answers what is most frequent in training: the class, each label or its absence, and
    for numbers their mean. `tfidf` is logistic regression, one for each label where a row has
    several (`labels` then names them), and ridge regression for numbers.
    """
    learned = train.sample(min(len(train), TRAINING_ROWS), random_state=seed)
    if problem_type == "single_label_classification":  # a class that the sample missed gets a row
        missed = train[~train["label"].isin(set(learned["label"]))]
        learned = pd.concat([learned, missed.drop_duplicates("label")])
    texts, test_texts = _one_text(learned), _one_text(test)
    spaced = texts.str.count(r"\s").sum() * 12 > texts.str.len().sum()
    words = spaced and texts.str.contains(WORD).any()
    vectorizer = (
        TfidfVectorizer(token_pattern=WORD, ngram_range=(1, 2), sublinear_tf=True)
        if words
        else TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)
    )
    usual, linear = (
        DummyClassifier(strategy="most_frequent"),
        LogisticRegression(max_iter=1000, C=4),
    )
    if problem_type == "regression":
        usual, linear = DummyRegressor(), Ridge()
    elif problem_type == "multi_label_classification":
        linear = OneVsRestClassifier(linear)
    everything, wanted, truth = (
        _targets(rows["label"], problem_type, labels or []) for rows in (train, learned, test)
    )
    predicted = {
        "majority": usual.fit(train[["label"]], everything).predict(test[["label"]]),
        "tfidf": make_pipeline(vectorizer, linear).fit(texts, wanted).predict(test_texts),
    }
    return {name: _judged(truth, each, problem_type, labels) for name, each in predicted.items()}


def _targets(column: "pd.Series[Any]", problem_type: str, labels: list[str]) -> Any:
    """Names [N], bool [N, C], or numbers [N]."""
    if problem_type == "multi_label_classification":
        return np.array([[label in names for label in labels] for names in column], dtype=bool)
    return column.to_numpy(dtype=np.float64 if problem_type == "regression" else object)


def _judged(
    truth: Any, predicted: Any, problem_type: str, labels: list[str] | None
) -> dict[str, Any]:
    if problem_type == "regression":
        found = regression_metrics(truth, predicted)
    elif problem_type == "multi_label_classification":
        predicted = predicted.astype(np.float32).reshape(truth.shape)  # [N] of a single label
        found = multi_label_metrics(truth, predicted, labels or [])
    else:
        found = {
            "accuracy": float(accuracy_score(truth, predicted)),
            "macro_f1": float(f1_score(truth, predicted, average="macro", zero_division=0)),
        }
    return {name: found[name] for name in TOLD if name in found}


def _one_text(rows: pd.DataFrame) -> "pd.Series[str]":
    return rows["text"] + "\n" + rows["text_pair"] if "text_pair" in rows else rows["text"]

"""What the fine-tune must be worth: the majority class, and TF-IDF with logistic regression."""

from typing import Any

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

TRAINING_ROWS = 20_000
"""Rows that the TF-IDF baseline learns from, so that it stays a matter of seconds."""


def baselines(train: pd.DataFrame, test: pd.DataFrame, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Accuracy and macro F1 of each baseline on the test rows."""
    majority = train["label"].mode().iloc[0]
    learned = train.sample(min(len(train), TRAINING_ROWS), random_state=seed)
    texts, test_texts = _one_text(learned), _one_text(test)
    spaced = texts.str.count(r"\s").sum() * 12 > texts.str.len().sum()
    vectorizer = (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        if spaced
        else TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)
    )
    model = make_pipeline(vectorizer, LogisticRegression(max_iter=1000, C=4.0))
    model.fit(texts, learned["label"])
    predictions = {
        "majority": [majority] * len(test),
        "tfidf": list(model.predict(test_texts)),
    }
    return {
        name: {
            "accuracy": float(accuracy_score(test["label"], predicted)),
            "macro_f1": float(f1_score(test["label"], predicted, average="macro", zero_division=0)),
        }
        for name, predicted in predictions.items()
    }


def _one_text(rows: pd.DataFrame) -> "pd.Series[str]":
    return rows["text"] + "\n" + rows["text_pair"] if "text_pair" in rows else rows["text"]

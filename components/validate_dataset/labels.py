"""Labels of any kind of problem, as the rules and the splits need them."""

import json
from typing import Any

import pandas as pd

from components.problem_types import MULTI, REGRESSION, SINGLE
from serving.errors import InputError

QUANTILES = 10


def label_keys(rows: pd.DataFrame, problem_type: str) -> "pd.Series[str]":
    """What makes two rows' labels the same."""
    if problem_type == MULTI:
        return rows["label"].map(lambda names: json.dumps(sorted(names), ensure_ascii=False))
    return rows["label"].astype(str)


def counts(rows: pd.DataFrame, problem_type: str) -> dict[str, int]:
    """Rows by class name, by name; with several labels a row counts for each. {} for numbers."""
    if problem_type == REGRESSION:
        return {}
    labels = rows["label"].explode().dropna() if problem_type == MULTI else rows["label"]
    return {str(name): int(count) for name, count in labels.value_counts().sort_index().items()}


def strata(rows: pd.DataFrame, problem_type: str) -> "pd.Series[str]":
    """The group of rows whose share each split keeps: the class; of several, the rarest; of
    numbers, the tenth of the distribution that they lie in."""
    if problem_type == SINGLE:
        return rows["label"]
    if problem_type == REGRESSION:
        ranks = rows["label"].rank(method="first")
        tenths = pd.qcut(ranks, min(QUANTILES, max(len(rows) // 10, 1)), labels=False)
        return "tenth " + tenths.astype(str)
    sizes = counts(rows, problem_type)
    bare = int((rows["label"].str.len() == 0).sum())
    # A few rows without any label are no kind of their own, which each split would need.
    none = "(none)" if bare >= QUANTILES or not sizes else max(sizes, key=lambda name: sizes[name])
    return rows["label"].map(
        lambda names: min(names, key=lambda name: (sizes[name], name)) if len(names) else none
    )


def output_names(source: dict[str, Any], train: pd.DataFrame, problem_type: str) -> list[str]:
    """Names of the model's outputs in order: as the source names them, then the others sorted."""
    if problem_type == REGRESSION:
        return list(source["labels"])
    present = set(counts(train, problem_type))
    named = [label for label in source.get("labels") or sorted(present) if label in present]
    return named + sorted(present - set(named))


def check_learnable(train: pd.DataFrame, problem_type: str) -> None:
    """Raise InputError when there is nothing to tell apart in the training rows."""
    if problem_type == REGRESSION:
        if train["label"].nunique() < 2:
            raise InputError(
                "the training rows all have the same number as label, so there is nothing to "
                "learn. Check the label column."
            )
        return
    found = list(counts(train, problem_type))
    # One label that applies or not can be learned; one class that every row has cannot.
    if len(found) < 2 and label_keys(train, problem_type).nunique() < 2:
        raise InputError(
            "the training rows have fewer than two classes (found: "
            f"{', '.join(found) or 'none'}). A classifier needs at least two; check the label "
            "column and how the rows were chosen."
        )

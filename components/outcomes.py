"""Test rows by what came out, and by how long their texts are: for the gate and for the report."""

from typing import Any

import pandas as pd

QUARTERS = ("shortest quarter", "second quarter", "third quarter", "longest quarter")


def outcomes(labels: "pd.Series[Any]", predicted: "pd.Series[Any]") -> "pd.Series[Any]":
    """Row by row: right or wrong (bool), or for numbers how far off (float).

    Labels are names, lists of names whose order does not count, or numbers.
    """
    if pd.api.types.is_numeric_dtype(labels):
        return (labels - predicted).abs().astype(float)
    if isinstance(labels.iloc[0], str):
        return (labels == predicted).astype(bool)
    pairs = zip(labels, predicted, strict=True)
    return pd.Series([set(a) == set(b) for a, b in pairs], index=labels.index, dtype=bool)


def length_quarters(texts: "pd.Series[str]") -> "pd.Series[str]":
    """The quarter of the rows, by length, that each text is in; at least four rows."""
    ranks = texts.str.len().rank(method="first")
    return pd.qcut(ranks, len(QUARTERS), labels=list(QUARTERS)).astype(str)
